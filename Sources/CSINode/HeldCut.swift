import Errors
import Persistence
import Synchronization

/// One volume's cut for a group snapshot: once it is made, the volume is held still until the others of the group are cut,
/// too, wherever they are.
///
/// It is made by access work of the volume's, as any cut is, and concluded by whoever began it. If nobody does in time, it is
/// given up by itself.
final class HeldCut: Sendable {
    /// The member of the group that it is for.
    let snapshot: SnapshotID
    /// Of the lease that the group counts on.
    let epoch: UInt64
    /// The group has no other volume that is written, so nothing has to be held.
    let isAlone: Bool

    private let isTakenUp = Mutex(false)
    private let made = OneShot<PerSSDError?>()
    private let verdict = OneShot<Bool>()
    private let end = OneShot<PerSSDError?>()

    /// For how long a volume is held still at the most: less than what `Publisher.whileFrozen` allows.
    static let patience = Duration.seconds(8)

    init(snapshot: SnapshotID, epoch: UInt64, isAlone: Bool) {
        (self.snapshot, self.epoch, self.isAlone) = (snapshot, epoch, isAlone)
    }

    // MARK: For who makes it

    /// Set by the work that makes the cut: no other work will.
    var isTaken: Bool {
        get { isTakenUp.withLock { $0 } }
        set { isTakenUp.withLock { $0 = newValue } }
    }

    /// The cut is made, and the volume stands still. Waits until it may go on.
    ///
    /// - Throws: `aborted` where the cut is not wanted any more.
    func hold() async throws {
        made.set(nil)
        guard await verdict.value(within: Self.patience, else: false) else { throw Self.abandoned }
    }

    /// All is over: nil where the volume stood still all the time, and its cut is on its way into the bucket.
    func ended(_ error: PerSSDError?) {
        made.set(error)
        end.set(error)
    }

    // MARK: For who wants it

    /// Waits until the cut is made.
    ///
    /// - Throws: why it is not.
    func waitForCut(until deadline: ContinuousClock.Instant) async throws {
        let late = PerSSDError(.aborted, "the volume is busy with other work", remedy: "try again")
        if let error = await made.value(within: deadline - .now, else: late) { throw error }
    }

    /// Lets the volume go on.
    ///
    /// - Parameter keeps: whether the cut is wanted.
    /// - Throws: why there is none: that the volume went on before, above all.
    func conclude(keeps: Bool) async throws {
        verdict.set(keeps)
        if let error = await end.value(within: nil, else: Self.abandoned) { throw error }
    }

    private static let abandoned = PerSSDError(
        .aborted, "the group's other volumes were not cut in time", remedy: "try again")
}
