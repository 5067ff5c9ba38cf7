import Errors
import Foundation
import LocalVolumes
import Persistence
import Synchronization
import SystemPackage

/// The work on one volume's real things: its local copy in the pool, its mounts, its records in the bucket.
///
/// `VolumeActor` calls one piece of access work at a time, and one stage-out beside it.
final class LocalVolumeWork: VolumeWork {
    let volume: VolumeID
    let environment: NodeEnvironment
    let memory: Mutex<Memory>
    /// Access work and the stage-out beside it change the copy's record one after the other, so that neither undoes what
    /// the other wrote.
    let recordChanges = Permits(1)
    /// The same for who uses the volume.
    let useChanges = Permits(1)
    /// Keeps stage-outs to what the volume's parameters allow, one that runs included.
    let pacer: Pacer

    /// What is known without asking the pool or the bucket.
    struct Memory: Sendable {
        /// The pool that has the local copy, or is to have it.
        var pool: (any VolumePool)?
        /// The record of the local copy as it is on disk.
        var copy: CopyRecord?
        /// The local copy's block device, while it is attached.
        var device: FilePath?
        /// What was cut of the published volume and is to be staged out.
        var cut: MadeCut?
        /// Snapshots that wait for a cut, and those whose cut was made and is not committed.
        var snapshotsWanted: Set<SnapshotID> = []
        var snapshotsCut: Set<SnapshotID> = []
        /// What the next cut is to be held for.
        var held: HeldCut?
        /// When the volume was last cut or opened, for the next checkpoint.
        var lastCut: ContinuousClock.Instant?
        /// What had been written to the device, in sectors, right after it was last cut under a pod.
        var writtenAtCut: UInt64?
        /// What was written since the newest generation was cut.
        var unsaved = UnsavedCount(isAttached: false)
        /// Whether the copy held what was not committed when it was opened.
        var wasAhead = false
        /// What it took to make the copy current.
        var source = PublishSource.warm
        /// When a checkpoint was last due, and there was nothing to keep.
        var lastSkip: ContinuousClock.Instant?
        /// Until when somebody is taken to wait for the next commit.
        var awaitedUntil: ContinuousClock.Instant?
        /// What the volume is, as last read: its capacity, which is never taken from here, and some of its parameters may
        /// have changed since. See `refreshRecord`.
        var volume: VolumeRecord?
        /// The head as this node last wrote or read it.
        var head: Versioned<Head>? {
            didSet { if let head { lastHead = head.value } }
        }
        /// The same, also where it has to be read again before anything is committed, as after a stage-out that failed.
        private(set) var lastHead: Head?
        /// The newest generation's record, to save reading it at the next stage-out.
        var newest: GenerationRecord?
        /// Who has used the volume since the last generation; nil where its file was not looked at yet.
        var uses: VolumeUses?

        /// The record of a generation, where it is the one that is known.
        func known(_ reference: GenerationReference) -> GenerationRecord? {
            newest.flatMap { $0.number == reference.number && $0.incarnation == reference.incarnation ? $0 : nil }
        }
    }

    /// - Parameter pool: where the local copy was found.
    init(_ volume: VolumeID, found: LocalCopy?, in pool: (any VolumePool)?, environment: NodeEnvironment) {
        self.volume = volume
        self.environment = environment
        pacer = Pacer(within: environment.pacer)
        var known = Memory(pool: pool, copy: found?.record, device: found?.device)
        known.unsaved = UnsavedCount(isAttached: known.device != nil)
        memory = Mutex(known)
    }

    /// The pool of the local copy.
    ///
    /// - Throws: `internal` where the volume has none here.
    var pool: any VolumePool {
        get throws {
            guard let pool = memory.withLock({ $0.pool }) else {
                throw PerSSDError(.internal, "volume \(volume) has no local copy")
            }
            return pool
        }
    }

    var copy: CopyRecord? { memory.withLock { $0.copy } }

    /// That this node has the lease open, as it last wrote or read the head.
    var hasOpenLease: Bool {
        guard let lease = memory.withLock({ $0.lastHead })?.lease else { return false }
        return lease.holder == environment.node && lease.state == .open
    }

    /// Makes a record durable, then remembers it.
    func save(_ record: CopyRecord) async throws {
        try await pool.save(record)
        memory.withLock { $0.copy = record }
    }

    /// Changes the record of the local copy, durably.
    func update(_ change: @Sendable (inout CopyRecord) -> Void) async throws {
        try await recordChanges.run {
            guard var record = copy else { throw PerSSDError(.internal, "volume \(volume) has no local copy") }
            change(&record)
            try await save(record)
        }
    }

    func removeCopy() async throws {
        try await pool.remove(volume.rawValue)
        await updateUses { $0 = VolumeUses(incarnation: $0.incarnation) }
        memory.withLock { ($0.copy, $0.device) = (nil, nil) }
        environment.poolChanged()
    }

    /// The volume's record, as last read.
    ///
    /// - Throws: `notFound` where it is deleted.
    func volumeRecord() async throws -> VolumeRecord {
        if let known = memory.withLock({ $0.volume }), known.incarnation.rawValue == copy?.incarnation { return known }
        return try await refreshRecord()
    }

    /// Reads the volume's record, so that parameters that were changed are in force from now on.
    ///
    /// - Throws: `notFound` where it is deleted.
    @discardableResult
    func refreshRecord() async throws -> VolumeRecord {
        let record = try await environment.catalog.volume(volume).record
        remember(record)
        return record
    }

    /// Takes the parameters of a record that has just been read.
    func remember(_ record: VolumeRecord) {
        memory.withLock { $0.volume = record }
        pacer.bytesPerSecond = record.parameters.stageOutBandwidth
    }

    /// A committed generation's record, read once.
    func record(of reference: GenerationReference?) async throws -> GenerationRecord? {
        guard let reference else { return nil }
        if let known = memory.withLock({ $0.known(reference) }) { return known }
        let record = try await environment.catalog.generation(reference)
        memory.withLock { $0.newest = record }
        return record
    }

    /// The generation that a copy holds or descends from, as the volume's history tells; nil where it is not in it.
    func generation(heldBy record: CopyRecord, in head: Head) async throws -> GenerationRecord? {
        guard record.generation > 0, let newest = head.newest, newest.number >= record.generation else { return nil }
        let steps = Int(clamping: newest.number - record.generation) + 1
        return try await environment.catalog.history(of: head, limit: steps)
            .first { $0.number == record.generation && $0.incarnation.rawValue == record.incarnation }
    }
}
