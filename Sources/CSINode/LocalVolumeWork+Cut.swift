import Blocking
import Errors
import Foundation
import LinuxSystem
import LocalVolumes
import Metering
import Persistence
import Units

/// Cuts, and the snapshots that wait for them.
extension LocalVolumeWork {
    /// What was cut and is to be staged out.
    struct MadeCut: Sendable {
        var cut: Cut
        var at: Date
        /// Those that had been asked for before it was made, and that its generation is for.
        var snapshots: [SnapshotID]
        /// Who has used the volume for what it holds.
        var uses: VolumeUses
        var kind: StageOutKind
        /// What had been written to the device by then, and whether there was one.
        var mark: UnsavedCount.Mark?
        var wasAttached: Bool
        /// What it has that the newest generation has not; nil where that is not known.
        var unsavedBytes: UInt64?
    }

    /// - Parameters:
    ///   - held: holds it until the others of its group are cut, too.
    ///   - kind: what it is for where no snapshot waits for it.
    func makeCut(_ held: HeldCut? = nil, for kind: StageOutKind) async throws -> MadeCut {
        // Whoever asks from now on may have written what the cut has not.
        let snapshots = memory.withLock { memory in
            defer { memory.snapshotsWanted = [] }
            if let held { memory.snapshotsWanted.insert(held.snapshot) }
            memory.snapshotsCut.formUnion(memory.snapshotsWanted)
            return memory.snapshotsWanted
        }
        // What a try that failed half-way may have left is nobody's.
        try await pool.discardPendingCut(volume.rawValue)
        // Nobody is published or unpublished while a cut is made.
        let uses = await uses()
        let cut = try await pool.cut(volume.rawValue)
        memory.withLock { ($0.lastCut, $0.writtenAtCut) = (.now, nil) }
        let sectors = await deviceSectors()
        let (mark, wasAttached, unsavedBytes) = memory.withLock {
            ($0.unsaved.mark(at: sectors), $0.device != nil, $0.unsaved.bytes(at: sectors))
        }
        let made = MadeCut(
            cut: cut, at: environment.catalog.time, snapshots: snapshots.sorted(), uses: uses,
            kind: snapshots.isEmpty ? kind : .snapshot, mark: mark, wasAttached: wasAttached, unsavedBytes: unsavedBytes
        )
        do {
            try await held?.hold()
        } catch {
            try? await pool.discard(cut)
            throw error
        }
        return made
    }

    func cut() async throws {
        let held = takeHeld()
        do {
            let made = try await note(try await cutWhilePublished(held))
            if let held, !made.snapshots.contains(held.snapshot) {
                try? await pool.discard(made.cut)
                throw PerSSDError(.aborted, "nobody waits for its group snapshot any more")
            }
            // What the freeze itself wrote is no reason for another checkpoint.
            let written = try? await writtenSectors()
            memory.withLock { ($0.cut, $0.writtenAtCut) = (made, written) }
            held?.ended(nil)
        } catch {
            forgetSnapshots()
            let failure = PerSSDError(wrapping: error, during: "cannot cut volume \(volume) while it is published")
            held?.ended(failure)
            throw failure
        }
    }

    /// A mounted file system is frozen for it, so that the cut is as whole as after an unmount, but for what programs hold
    /// in their own memory. A raw device is cut as a loss of power would leave it.
    private func cutWhilePublished(_ held: HeldCut?) async throws -> MadeCut {
        let pool = try self.pool
        try requireInstantCuts()
        if let held { try await requireHoldable(held) }
        let publisher = environment.publisher
        guard try await publisher.stagedPath(of: volume.rawValue) != nil else {
            return try await makeCut(held, for: .checkpoint)
        }
        // Others may stand still already; and before they did, this was done.
        if held == nil { await trim() }
        // A pool that freezes by itself is done sooner; but it thaws each volume as soon as that one is cut.
        let waitsForOthers = held.map { !$0.isAlone } ?? false
        guard waitsForOthers || !pool.cutsFreeze else { return try await makeCut(held, for: .checkpoint) }
        let (made, time) = try await publisher.whileFrozen(volume.rawValue) {
            try await makeCut(held, for: .checkpoint)
        }
        Instruments.cutFreeze.observe(time)
        let milliseconds = Int((time / .milliseconds(1)).rounded(.up))
        environment.logger.info(
            "cut while published", metadata: ["volume": "\(volume)", "frozenMilliseconds": "\(milliseconds)"])
        return made
    }

    func requireInstantCuts() throws {
        let pool = try self.pool
        guard pool.cutsAreInstant else {
            throw PerSSDError(
                .failedPrecondition,
                "pool \(pool.name) (\(pool.location)) cannot share blocks between a volume and its cut, so the volume would "
                    + "have to stand still until all of it is sent",
                remedy: "unpublish the volume first, or keep the pool on XFS, btrfs or a volume group")
        }
    }

    /// What was deleted need not be sent. That a file system cannot trim costs only that.
    func trim() async {
        do {
            _ = try await environment.publisher.trim(volume.rawValue)
        } catch {
            environment.logger.debug("cannot trim: \(error)", metadata: ["volume": "\(volume)"])
        }
    }

    // MARK: Checkpoints

    /// Whether it is time for a checkpoint of the published volume, and there is anything to keep.
    func isCheckpointDue() async -> Bool {
        guard copy?.state == .dirty, (try? pool.cutsAreInstant) == true,
            let seconds = try? await volumeRecord().parameters.checkpointInterval
        else { return false }
        // Found published at the plugin's start, it is as if it had been opened then.
        let last = memory.withLock { memory -> ContinuousClock.Instant in
            if memory.lastCut == nil { memory.lastCut = .now }
            return memory.lastCut!
        }
        guard .now - last >= .seconds(seconds) else { return false }
        guard let before = memory.withLock({ $0.writtenAtCut }) else { return true }
        guard let now = try? await writtenSectors() else { return true }
        if now == before { noteSkip(interval: .seconds(seconds)) }
        return now != before
    }

    /// It is looked often whether there is something to keep; what is counted is intervals without.
    private func noteSkip(interval: Duration) {
        let isFirst = memory.withLock { memory in
            if let last = memory.lastSkip, .now - last < interval { return false }
            memory.lastSkip = .now
            return true
        }
        if isFirst { Instruments.checkpoints.add(1, CheckpointOutcome.skipped.rawValue) }
    }

    /// What has been written to the device, with all that was still on its way there.
    private func writtenSectors() async throws -> UInt64? {
        guard let device = memory.withLock({ $0.device }) else { return nil }
        if try await environment.publisher.stagedPath(of: volume.rawValue) != nil {
            try await environment.publisher.sync(volume.rawValue)
        }
        return try await BlockingPool.shared.run {
            try BlockDevice.flush(device)
            return try BlockDevice.writtenSectors(device)
        }
    }

    // MARK: Snapshots

    /// The next cut is for this snapshot, too.
    ///
    /// - Returns: false where a cut for it is on its way already.
    func want(_ snapshot: SnapshotID) -> Bool {
        memory.withLock { memory in
            guard !memory.snapshotsCut.contains(snapshot) else { return false }
            memory.snapshotsWanted.insert(snapshot)
            return true
        }
    }

    func isWanted(_ snapshot: SnapshotID) -> Bool { memory.withLock { $0.snapshotsWanted.contains(snapshot) } }

    func noLongerWant(_ snapshot: SnapshotID) { memory.withLock { _ = $0.snapshotsWanted.remove(snapshot) } }

    func forgetSnapshots() { memory.withLock { $0.snapshotsCut = [] } }

    /// Says in the snapshots' records when the cut was made.
    ///
    /// - Returns: the cut, without the snapshots that nobody waits for any more.
    func note(_ made: MadeCut) async throws -> MadeCut {
        var noted = made
        noted.snapshots = []
        do {
            for snapshot in made.snapshots {
                do {
                    _ = try await environment.catalog.noteCut(
                        of: snapshot, at: made.at, by: environment.node, epoch: copy?.epoch ?? 0)
                    noted.snapshots.append(snapshot)
                } catch let error as PerSSDError where [.notFound, .failedPrecondition].contains(error.code) {
                    environment.logger.notice("a snapshot is not wanted any more: \(error)")
                }
            }
        } catch {
            try? await pool.discard(made.cut)
            throw error
        }
        return noted
    }

    /// The generation is committed, whatever becomes of the snapshots: whoever made them asks again.
    func makeReady(_ snapshots: [SnapshotID], _ generation: GenerationReference, cutAt: Date) async {
        for snapshot in snapshots {
            do {
                _ = try await environment.catalog.makeReady(
                    snapshot, generation, cutAt: cutAt, by: environment.node, epoch: copy?.epoch ?? 0)
            } catch {
                environment.logger.warning(
                    "\(generation) is committed, and snapshot \(snapshot) is not ready: \(error)",
                    metadata: ["volume": "\(volume)"])
            }
        }
    }
}
