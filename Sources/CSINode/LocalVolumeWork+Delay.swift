import Errors
import Foundation
import LocalVolumes
import Persistence

/// Work that is held back on the node for a pod that may come next.
extension LocalVolumeWork {
    func holdBack(for delay: Duration) async -> Duration? {
        guard let record = copy, record.state == .dirty, let incarnation = Incarnation(record.incarnation) else {
            return nil
        }
        let granted = min(delay, await untilCheckpoint())
        guard granted > .zero else { return nil }
        let (node, known) = (environment.node, memory.withLock { $0.head })
        let until = environment.catalog.time + TimeInterval(granted.components.seconds)
        do {
            let head = try await environment.catalog.updateHead(volume, incarnation: incarnation, known: known) {
                try $0.holdingBack(by: node, epoch: record.epoch, until: until)
            }
            memory.withLock {
                $0.head = head
                // Whoever stages it out reads it anew: the volume may be deleted by then, and nothing is to be sent.
                $0.head = nil
            }
            guard head.value.lease?.isHeldBack == true else { return nil }
        } catch {
            // What nobody can know to be held back is staged out at once, as far as that is possible now.
            environment.logger.notice(
                "a volume is not held back: \(PerSSDError(wrapping: error))", metadata: ["volume": "\(volume)"])
            return nil
        }
        environment.logger.info(
            "a volume is held back for its next pod", metadata: ["volume": "\(volume)", "for": "\(granted.text)"])
        return granted
    }

    /// How much of its time a volume has left that an earlier process, or an earlier life of this machine, had held back.
    ///
    /// - Returns: nil where it is to be staged out at once, or nobody knows.
    func remainingDelay() async -> Duration? {
        guard let record = copy, record.state == .dirty else { return nil }
        do {
            let listing = try await environment.catalog.volume(volume)
            guard isOwn(record, listing.head), let lease = listing.head.lease, lease.isHeldBack,
                lease.detachRequestedAt == nil, let until = lease.heldBackUntil,
                let delay = listing.record.parameters.stageOutDelay
            else { return nil }
            // However wrong the clock was, it is not more than the parameter says.
            let left = min(until.timeIntervalSince(environment.catalog.time), TimeInterval(delay))
            return left > 0 ? .seconds(left) : nil
        } catch {
            return nil
        }
    }

    /// Whether a volume that is held back may go on to be, by its parameters as last read and its head. A controller that cannot
    /// reach this node's agent says in the head alone that somebody waits for the volume.
    func mayStayHeldBack() async -> Bool {
        let parameters = memory.withLock { $0.volume }?.parameters
        guard parameters?.stageOut == .background, parameters?.stageOutDelay != nil else { return false }
        // Where it cannot be read, it could not be staged out either.
        guard let record = copy, let head = try? await environment.catalog.head(volume).value else { return true }
        return isOwn(record, head) && head.lease?.detachRequestedAt == nil
    }

    /// A volume with checkpoints is in the bucket at the end of each interval, whether a pod has it or not.
    private func untilCheckpoint() async -> Duration {
        guard let interval = try? await volumeRecord().parameters.checkpointInterval else { return .seconds(86_400) }
        let last = memory.withLock { $0.lastCut }
        return .seconds(interval) - (last.map { .now - $0 } ?? .zero)
    }
}
