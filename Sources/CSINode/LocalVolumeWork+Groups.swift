import Errors
import LocalVolumes
import Persistence

/// Cuts for group snapshots.
extension LocalVolumeWork {
    /// The next cut is for this group.
    ///
    /// - Returns: false where one is to be for another.
    func holdNext(_ cut: HeldCut) -> Bool {
        memory.withLock { memory in
            guard memory.held == nil else { return false }
            memory.held = cut
            return true
        }
    }

    /// - Returns: false where the cut has been taken up.
    func withdraw(_ cut: HeldCut) -> Bool {
        memory.withLock { memory in
            guard memory.held === cut else { return false }
            memory.held = nil
            return true
        }
    }

    func takeHeld() -> HeldCut? {
        memory.withLock { memory in
            defer { memory.held = nil }
            memory.held?.isTaken = true
            return memory.held
        }
    }

    func isBringing(_ snapshot: SnapshotID) -> Bool { memory.withLock { $0.snapshotsCut.contains(snapshot) } }

    /// That the volume is written under the lease that the group counts on, and can be held still.
    ///
    /// - Throws: `failedPrecondition` where it never can be; `aborted` where the lease is another one.
    func requireHoldable(_ cut: HeldCut) async throws {
        guard let copy, copy.state == .dirty, copy.epoch == cut.epoch else {
            throw PerSSDError(
                .aborted, "volume \(volume) is not written under the lease of epoch \(cut.epoch) any more",
                remedy: "try again")
        }
        try requireInstantCuts()
        guard !cut.isAlone else { return }
        try pool.requireFrozenCuts()
        guard try await environment.publisher.stagedPath(of: volume.rawValue) != nil else {
            throw PerSSDError(
                .failedPrecondition,
                "volume \(volume) is a raw block volume, whose writers cannot be held, and other volumes of the group are "
                    + "written, too", remedy: "unpublish it first")
        }
    }

    /// Does before what would take long while others stand still.
    func easeFreezing() async throws {
        try await pool.prepareCut(volume.rawValue)
        guard try await environment.publisher.stagedPath(of: volume.rawValue) != nil else { return }
        await trim()
        try await environment.publisher.sync(volume.rawValue)
    }
}
