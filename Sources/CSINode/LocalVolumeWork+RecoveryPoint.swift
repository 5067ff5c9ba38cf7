import Blocking
import Errors
import Foundation
import LinuxSystem
import Persistence
import Units

/// What the loss of the node would cost a volume that may be written here, or whose work is not all committed yet.
struct RecoveryExposure: Sendable, Equatable {
    /// The newest generation, which the volume would come back as; nil where nothing has been staged out yet.
    var generation: UInt64?
    /// When that was cut; where there is none, since when the volume is open.
    var since: Date
    /// What was written to the device since; nil where this process cannot tell, as for a volume that it found open at its
    /// start.
    var unsavedBytes: UInt64?

    /// At least nothing, where clocks differ.
    func age(at now: Date) -> Duration { .seconds(max(0, now.timeIntervalSince(since))) }

    /// "the newest generation is 3, 12 min old, and 4 MiB were written since".
    func text(at now: Date) -> String {
        let age = Duration.seconds(age(at: now).components.seconds).text
        let point =
            generation.map { "the newest generation is \($0), \(age) old" }
            ?? "nothing of the volume has been staged out yet, and it is open for \(age)"
        return point + (unsavedBytes.map { ", and \(ByteCount($0)) were written since" } ?? "")
    }
}

extension LocalVolumeWork {
    /// What is known without asking the bucket; nil for a volume that has nothing uncommitted, and until it is known.
    func exposure() async -> RecoveryExposure? {
        let sectors = await deviceSectors()
        let known = memory.withLock { memory -> (head: Head, newest: GenerationRecord?, unsaved: UInt64?)? in
            guard memory.copy?.state == .dirty, let head = memory.lastHead else { return nil }
            return (head, head.newest.flatMap { memory.known($0) }, memory.unsaved.bytes(at: sectors))
        }
        guard let (head, newest, unsaved) = known else { return nil }
        guard head.newest != nil else {
            return head.lease.map { RecoveryExposure(since: $0.since, unsavedBytes: unsaved) }
        }
        return newest.map {
            RecoveryExposure(generation: $0.number, since: $0.provenance.cutAt, unsavedBytes: unsaved)
        }
    }

    /// Reads from the bucket what `exposure` needs and this process has not seen yet: the generation's record, which the next
    /// stage-out would read, and, after a restart, the head. That it fails costs a gauge for a while.
    func learnRecoveryPoint() async {
        guard copy?.state == .dirty else { return }
        do {
            if memory.withLock({ $0.lastHead }) == nil {
                let head = try await environment.catalog.head(volume)
                // A stage-out may have put a newer one there meanwhile.
                memory.withLock { if $0.head == nil { $0.head = head } }
            }
            _ = try await record(of: memory.withLock { $0.lastHead }?.newest)
        } catch {
            environment.logger.debug("the recovery point cannot be told: \(error)", metadata: ["volume": "\(volume)"])
        }
    }

    /// The volume has got its first pod. What is written to its device is counted from here.
    func noteOpened() async {
        guard copy?.state == .dirty else { return }
        if let pool = try? pool, !pool.cutsAreInstant,
            let wanted = memory.withLock({ $0.volume })?.parameters.checkpointInterval
        {
            environment.logger.warning(
                """
                pool \(pool.name) (\(pool.location)) cannot cut a volume that a pod writes, so there are no checkpoints, though \
                its checkpointInterval is \(wanted) s: what is written is safe when the pod has ended
                """, metadata: ["volume": "\(volume)"])
        }
        let sectors = await deviceSectors()
        let needsReading = memory.withLock { memory in
            memory.unsaved.opened(at: sectors, isAhead: memory.wasAhead)
            return memory.lastHead?.newest.map { memory.known($0) == nil } ?? false
        }
        // Nobody has to wait for it.
        if needsReading { Task { await learnRecoveryPoint() } }
    }

    /// What was written to the device up to now, in sectors, without what is still in memory on its way there.
    func deviceSectors() async -> UInt64? {
        guard let device = memory.withLock({ $0.device }) else { return nil }
        return try? await BlockingPool.shared.run { try BlockDevice.writtenSectors(device) }
    }
}
