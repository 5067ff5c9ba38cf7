import Errors
import Persistence

/// Who waits for the volume's work to be committed.
extension LocalVolumeWork {
    /// Somebody waits for what the volume holds to be committed, and asks again until then, so that its transfer goes before
    /// what nobody waits for. The orchestrator asks again after two minutes at the latest.
    func noteAwaited(until time: ContinuousClock.Instant) {
        memory.withLock { $0.awaitedUntil = max($0.awaitedUntil ?? time, time) }
    }

    /// Whether anybody does, as far as this node has heard.
    var isAwaited: Bool {
        let now = ContinuousClock.now
        return memory.withLock { memory in
            if let until = memory.awaitedUntil, now < until { return true }
            return !memory.snapshotsWanted.isEmpty || !memory.snapshotsCut.isEmpty
                || memory.lastHead?.lease?.detachRequestedAt != nil
        }
    }

    /// How much the stage-out of a cut is wanted.
    ///
    /// - Parameter unsavedBytes: what the cut has that the newest generation has not; nil where that is not known.
    func rank(unsavedBytes: UInt64?) -> @Sendable () -> TransferRank {
        { TransferRank(urgency: self.isAwaited ? .awaited : .background, unsavedBytes: unsavedBytes) }
    }

    /// What the newest generation has not, now; nil where that is not known.
    func unsavedBytes() async -> UInt64? {
        let sectors = await deviceSectors()
        return memory.withLock { $0.unsaved.bytes(at: sectors) }
    }
}
