import Errors
import Foundation
import LocalVolumes
import Metering
import Persistence

extension LocalVolumeWork {
    /// Puts on record that what this node wrote under its lease is lost, where the local copy is gone: with its drive, or with
    /// the machine that had this node's name before. Nothing where that is not so.
    ///
    /// The lease goes, too, and the epoch grows, so that the copy is a branch should the drive come back.
    func recordLossOfCopy() async throws {
        guard isMissing else { return }
        do {
            // What a pool holds that the node lacks may come back with it.
            if !environment.pools.missing.isEmpty {
                let pool = try await refreshRecord().parameters.pool
                guard !environment.pools.missing.contains(where: { $0.name == pool }) else { return }
            }
            try await recordLossOfCopy(seen: environment.catalog.head(volume).value)
        } catch let error as PerSSDError where error.code == .notFound {
            // The volume is deleted.
        }
    }

    /// The same where the head has just been read.
    ///
    /// - Returns: whether there was such a loss.
    @discardableResult
    func recordLossOfCopy(seen: Head) async throws -> Bool {
        guard isMissing, let lease = openLease(of: seen) else { return false }
        var isRevoking = false
        let after = try await environment.catalog.updateHead(volume, incarnation: seen.incarnation) {
            [time = environment.catalog.time] head in
            // A publish that runs meanwhile has a copy before it opens the head.
            isRevoking = head.epoch == seen.epoch && openLease(of: head) != nil && isMissing
            return isRevoking ? head.revoking(now: time) : head
        }
        memory.withLock { $0.head = after }
        guard isRevoking else { return false }
        Instruments.losses.add()
        environment.logger.error(
            """
            this node had volume \(volume) open since \(lease.since.formatted(.iso8601)), and its local copy is gone: what was \
            written and not committed is lost to the volume, which stands at \
            \(after.value.newest?.description ?? "its creation")
            """,
            metadata: ["volume": "\(volume)", "epoch": "\(seen.epoch)"])
        return true
    }

    /// That the node has no local copy of the volume, not even one that nobody can read any more.
    private var isMissing: Bool {
        copy == nil
            && !environment.pools.all.contains { $0.damagedCopies.contains { $0.volume == volume.rawValue } }
    }

    private func openLease(of head: Head) -> Lease? {
        guard let lease = head.lease, lease.holder == environment.node, lease.state == .open else { return nil }
        return lease
    }
}
