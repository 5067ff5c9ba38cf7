import Agents
import Errors
import Foundation
import Logging
import Metering
import Persistence
import Units
import VolumeEvents

/// Takes a lease back from a node. What the node has not committed is waited for as long as the node lives, and given up,
/// loudly, once it has been silent for the volume's `nodeLossTimeout`.
struct Detach {
    enum Purpose {
        /// No pod is to come to the node for now. What is held back for one that may come all the same stays there.
        case detach
        /// What is held back is wanted elsewhere: the node is to commit it now.
        case handOver
    }

    var purpose = Purpose.detach
    var volume: VolumeID
    /// nil for whichever node of the cluster holds it.
    var node: NodeReference?
    /// Nodes of other clusters are not this controller's to take anything from.
    var cluster: String
    var catalog: Catalog
    /// Where users of the volume hear of it.
    var events: EventSink
    var agents: any NodeAgents
    var logger: Logger

    /// How long a caller that set no deadline waits.
    static let patience = Duration.seconds(10)
    /// After what wait the claim's owner hears of it.
    static let untold = Duration.seconds(30)
    /// How long a node may take to answer that it has been asked.
    static let agentPatience = Duration.seconds(5)
    /// When a node that lives is asked again.
    private static let askingPause = Duration.seconds(30)
    private static let pauses = (first: Duration.milliseconds(100), longest: Duration.seconds(2))

    /// - Throws: `aborted` while there is uncommitted work, with how long it has been waited for.
    func run(until deadline: ContinuousClock.Instant?) async throws {
        let end = Self.lastTry(deadline)
        var pause = Self.pauses.first
        var asked: (task: Task<Void, Never>, at: ContinuousClock.Instant)?
        // Nobody hears the answer any more.
        defer { asked?.task.cancel() }
        while true {
            guard let waiting = try await step() else { return }
            guard waiting.holderIsAlive, ContinuousClock.now + pause < end else { throw waiting.error }
            if let holder = waiting.holder, asked.map({ .now - $0.at > Self.askingPause }) ?? true {
                asked?.task.cancel()
                // Beside the wait, which has to see at once what the node commits, whether or not it can be asked.
                asked = (Task { await ask(holder, until: min(end, .now + Self.agentPatience)) }, .now)
            }
            try await Task.sleep(for: pause)
            pause = min(pause * 3 / 2, Self.pauses.longest)
        }
    }

    /// Nothing on a node looks at a volume that no pod has there any more, unless it is asked. That it cannot be asked changes
    /// nothing: it is waited for all the same.
    private func ask(_ holder: NodeReference, until deadline: ContinuousClock.Instant) async {
        do {
            try await agents.handOver(volume, on: holder, until: deadline)
        } catch {
            guard !Task.isCancelled else { return }
            logger.notice(
                "a node cannot be asked to hand a volume over, and is waited for all the same: \(error)",
                metadata: ["volume": "\(volume)", "node": "\(holder)"])
        }
    }

    /// Some time before the deadline, so that the answer still arrives.
    private static func lastTry(_ deadline: ContinuousClock.Instant?) -> ContinuousClock.Instant {
        guard let deadline else { return .now + patience }
        return deadline - min(.seconds(2), max(.zero, deadline - .now) / 4)
    }

    private struct Waiting {
        var holderIsAlive: Bool
        /// Who may have uncommitted writes, where that is known to be so.
        var holder: NodeReference?
        var error: PerSSDError
    }

    /// - Returns: nil where the node, or every one, has the volume no more.
    private func step() async throws -> Waiting? {
        do {
            let seen = try await catalog.head(volume)
            guard let holder = held(seen.value)?.holder else { return nil }
            let record = try await catalog.node(holder)
            let now = catalog.time
            let head = try await catalog.updateHead(
                volume, incarnation: seen.value.incarnation, known: seen
            ) { head in
                if purpose == .detach {
                    guard let lease = head.lease, lease.state == .open else { return try head.releasing(from: holder) }
                    if lease.isHeldBack { return head.withdrawing(from: holder) }
                }
                guard held(head)?.holder == holder else { return head }
                // Another holder's record has not been read; it is, the next time.
                return head.requestingDetach(from: holder, holderSeenAt: record?.seenAt, now: now)
            }
            guard let lease = held(head.value) else {
                let what =
                    head.value.lease == nil ? "volume is released" : "volume is detached, and held back on its node"
                logger.info("\(what)", metadata: ["volume": "\(volume)", "node": "\(holder)"])
                return nil
            }
            guard lease.holder == holder else {
                return Waiting(holderIsAlive: true, error: aborted(head.value, lease, nil, now, 0))
            }
            return try await waitOrRevoke(head, lease, record, now)
        } catch let error as PerSSDError where error.code == .notFound {
            // Deleted, so nobody has it.
            return nil
        }
    }

    private func waitOrRevoke(
        _ head: Versioned<Head>, _ lease: Lease, _ record: NodeRecord?, _ now: Date
    ) async throws -> Waiting? {
        let volumeRecord = try await catalog.volume(volume).record
        let limit = Double(volumeRecord.parameters.nodeLossTimeout)
        let silence = lease.silentSince.map { max(0, now.timeIntervalSince($0)) } ?? 0
        // A node that lives is silent between two reports, however little the volume's parameter grants. Where the clocks differ,
        // this waits for longer, and not for less.
        let isAlive = record?.isAlive(at: now) ?? false
        let granted = isAlive ? max(limit, record?.longestSilence ?? 0) : limit
        guard silence > granted else {
            let waited = Duration.seconds(max(0, now.timeIntervalSince(lease.detachRequestedAt ?? now)))
            if waited >= Self.untold {
                let waiting = Occurrence.Waiting(
                    for: lease.holder.node, waited: waited, silence: .seconds(silence), limit: .seconds(granted))
                tell(.waitingForNode(waiting), of: volumeRecord)
            }
            return Waiting(
                holderIsAlive: isAlive, holder: lease.holder, error: aborted(head.value, lease, record, now, silence))
        }
        // Any change of the head is a sign of life, or another detach at work: then it is looked at anew.
        var isRevoking = false
        let after = try await catalog.updateHead(volume, incarnation: head.value.incarnation, known: head) { current in
            isRevoking = current == head.value
            return isRevoking ? current.revoking(now: now) : current
        }.value
        guard isRevoking, let loss = after.loss else {
            return Waiting(holderIsAlive: true, error: aborted(head.value, lease, record, now, silence))
        }
        Instruments.leasesRevoked.add()
        Instruments.losses.add()
        report(loss, silence)
        tell(.leaseRevoked(loss, silence: .seconds(silence)), of: volumeRecord)
        return nil
    }

    private func tell(_ occurrence: Occurrence, of record: VolumeRecord) {
        events.tell(VolumeEvent(occurrence, of: volume, claim: VolumeEvent.Claim(of: record), at: catalog.time))
    }

    private func report(_ loss: Loss, _ silence: Double) {
        logger.error(
            """
            node \(loss.node) was silent for \(Duration.seconds(silence).text) while it had volume \(volume) open: its \
            lease is revoked. What it wrote since \(loss.openSince.formatted(.iso8601)) and has not committed is lost \
            to the volume, which stands at generation \(loss.newestGeneration). Should the node come back, it keeps \
            that work as a branch.
            """,
            metadata: [
                "volume": "\(volume)", "node": "\(loss.node)", "epoch": "\(loss.epoch)",
                "generation": "\(loss.newestGeneration)",
            ])
    }

    private func aborted(
        _ head: Head, _ lease: Lease, _ record: NodeRecord?, _ now: Date, _ silence: Double
    ) -> PerSSDError {
        let waited = Duration.seconds(max(0, now.timeIntervalSince(lease.detachRequestedAt ?? now))).text
        let newest = head.newest.map { "generation \($0.number)" } ?? "none"
        let life =
            if record == nil {
                "the node has no record in the bucket"
            } else {
                "the node has been silent for \(Duration.seconds(silence).text)"
            }
        return PerSSDError(
            .aborted,
            "node \(lease.holder) has not committed all it wrote to volume \(volume), whose newest state is \(newest): "
                + "waiting for \(waited) so far; \(life)",
            remedy: "the next try goes on waiting, until the node has been silent for the volume's nodeLossTimeout")
    }

    /// The lease, where it is one that is to be taken back.
    private func held(_ head: Head) -> Lease? {
        guard let lease = head.lease, lease.holder.cluster == cluster, node == nil || lease.holder == node else {
            return nil
        }
        switch purpose {
        // One that is held back and withdrawn is the node's own until it has committed.
        case .detach: return lease.isHeldBack && lease.publication == nil ? nil : lease
        case .handOver: return lease.isHeldBack && lease.publication == nil ? lease : nil
        }
    }
}

extension ControllerPlugin {
    /// Has what a node of this cluster holds back of a volume that is attached nowhere committed now, and waits for that within the
    /// call's time; nothing where nothing is held back, or there is no volume.
    ///
    /// - Throws: `aborted` while it is not committed. A node that is silent loses the lease as in any detach.
    func settleHeldBack(_ id: VolumeID, until deadline: ContinuousClock.Instant?) async throws {
        let detach = Detach(
            purpose: .handOver, volume: id, node: nil, cluster: cluster, catalog: catalog, events: events,
            agents: agents, logger: logger)
        try await detach.run(until: deadline)
    }

    /// The same for a clone, which is to hold what the last pod has written, and not what was newest before.
    ///
    /// - Throws: `aborted` in the seconds between the end of that pod and its detach, too.
    func settleToClone(_ id: VolumeID, until deadline: ContinuousClock.Instant?) async throws {
        do {
            let lease = try await catalog.head(id).value.lease
            guard let lease, lease.isHeldBack, lease.holder.cluster == cluster else { return }
            guard lease.publication == nil else {
                throw PerSSDError(
                    .aborted,
                    "volume \(id) is held back on node \(lease.holder), and still attached there, or attached again",
                    remedy: "try again")
            }
        } catch let error as PerSSDError where error.code == .notFound {
            // There is none, which is for others to say.
            return
        }
        try await settleHeldBack(id, until: deadline)
    }
}
