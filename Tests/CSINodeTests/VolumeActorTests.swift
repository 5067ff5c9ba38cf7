import Errors
import Logging
import Persistence
import Synchronization
import Testing

@testable import CSINode

/// Work that takes as long as a test likes, and fails where it says: real work is in the tests of the whole node.
private final class ScriptedWork: VolumeWork {
    struct State {
        var log: [String] = []
        var failures: [String: PerSSDError] = [:]
        var closings: [Bool] = []
        /// What the bucket lets a volume be held back for.
        var granted: Duration?
    }
    let state = Mutex(State())
    let publishGate = Latch(isOpen: true)
    let expandGate = Latch(isOpen: true)
    let holdGate = Latch(isOpen: true)
    let cutGate = Latch(isOpen: true)
    let sendGate = Latch(isOpen: true)
    let isIndependent: Bool

    init(isIndependent: Bool = true) { self.isIndependent = isIndependent }

    var log: [String] { state.withLock { $0.log } }

    func note(_ event: String) throws {
        if let failure = state.withLock({ state -> PerSSDError? in
            state.log.append(event)
            return state.failures.removeValue(forKey: event)
        }) {
            throw failure
        }
    }

    func publish(
        _ request: PublishRequest, isFirst: Bool, progress: WorkProgress, opened: @Sendable () async -> Void
    ) async throws {
        try await publishGate.wait()
        await opened()
        try note("publish \(request.publication.path)")
    }

    func expand(_ wanted: Expansion, progress: WorkProgress) async throws {
        try await expandGate.wait()
        try note("expand \(wanted.requiredBytes)")
    }

    func unpublish(path: String, isLast: Bool) async throws { try note("unpublish \(path)\(isLast ? " last" : "")") }

    func holdBack(for delay: Duration) async -> Duration? {
        try? await holdGate.wait()
        return state.withLock { state in
            state.log.append("hold back")
            return state.granted
        }
    }

    func cut() async throws {
        try await cutGate.wait()
        try note("cut published")
    }

    func stageOut(
        progress: WorkProgress, cutMade: @Sendable (Bool) async -> Void, isClosing: @Sendable () async -> Bool
    ) async throws {
        try await cutGate.wait()
        try note("cut")
        await cutMade(isIndependent)
        try await sendGate.wait()
        let closes = await isClosing()
        state.withLock { $0.closings.append(closes) }
        try note("commit")
    }
}

/// A gate that opens and closes; waiting at it honours cancellation.
final class Latch: Sendable {
    private let isOpen: Mutex<Bool>
    init(isOpen: Bool) { self.isOpen = Mutex(isOpen) }
    func open() { isOpen.withLock { $0 = true } }
    func close() { isOpen.withLock { $0 = false } }
    func wait() async throws {
        while !isOpen.withLock({ $0 }) { try await Task.sleep(for: .milliseconds(2)) }
    }
}

private func request(_ path: String) -> PublishRequest {
    PublishRequest(
        publication: Publication(
            path: path, access: .mount(fileSystem: "ext4", flags: []), isReadOnly: false, isExclusive: false),
        epoch: 1)
}

private func actor(_ work: ScriptedWork) -> VolumeActor {
    VolumeActor(VolumeID(name: "test"), found: VolumeMachine(), work: work, logger: Logger(label: "test"))
}

private var soon: ContinuousClock.Instant { .now + .milliseconds(30) }
private var later: ContinuousClock.Instant { .now + .seconds(20) }

@Suite struct VolumeActorTests {
    @Test func manyCallsForOneTargetAreOnePieceOfWork() async throws {
        let work = ScriptedWork()
        let volume = actor(work)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<20 { group.addTask { try await volume.publish(request("/a"), until: later) } }
            try await group.waitForAll()
        }
        #expect(work.log == ["publish /a"])
        try await volume.unpublish(path: "/a", inBackground: false, until: later)
        #expect(work.log == ["publish /a", "unpublish /a last", "cut", "commit"])
        #expect(work.state.withLock { $0.closings } == [true])
        #expect(await volume.isIdle)
    }

    @Test func anUnpublishWhoseTimeIsUpIsAbortedAndItsRetryJoinsTheStageOut() async throws {
        let work = ScriptedWork()
        work.sendGate.close()
        let volume = actor(work)
        try await volume.publish(request("/a"), until: later)
        for _ in 0..<3 {
            let error = await #expect(throws: PerSSDError.self) {
                try await volume.unpublish(path: "/a", inBackground: false, until: soon)
            }
            #expect(error?.code == .aborted)
            #expect(error?.message == "staging out")
        }
        work.sendGate.open()
        try await volume.unpublish(path: "/a", inBackground: false, until: later)
        #expect(work.log.filter { $0 == "cut" }.count == 1)
        #expect(work.log.filter { $0 == "commit" }.count == 1)
    }

    @Test func aPodIsLetInWhileItsLastWorkIsStillBeingSent() async throws {
        let work = ScriptedWork(isIndependent: true)
        work.sendGate.close()
        let volume = actor(work)
        try await volume.publish(request("/a"), until: later)
        await #expect(throws: PerSSDError.self) {
            try await volume.unpublish(path: "/a", inBackground: false, until: soon)
        }
        try await volume.publish(request("/b"), until: later)
        work.sendGate.open()
        try await volume.unpublish(path: "/b", inBackground: false, until: later)
        // The first commit left the head open, because a pod was writing.
        #expect(work.state.withLock { $0.closings } == [false, true])
    }

    @Test func aPodWaitsWhereTheCutIsTheCopyItself() async throws {
        let work = ScriptedWork(isIndependent: false)
        work.sendGate.close()
        let volume = actor(work)
        try await volume.publish(request("/a"), until: later)
        await #expect(throws: PerSSDError.self) {
            try await volume.unpublish(path: "/a", inBackground: false, until: soon)
        }
        let error = await #expect(throws: PerSSDError.self) {
            try await volume.publish(request("/b"), until: soon)
        }
        #expect(error?.code == .aborted)
        work.sendGate.open()
        try await volume.publish(request("/b"), until: later)
        #expect(work.log == ["publish /a", "unpublish /a last", "cut", "commit", "publish /b"])
    }

    @Test func aFailedStageOutIsTriedAgainByTheNextCallAndByItself() async throws {
        let work = ScriptedWork()
        let volume = actor(work)
        try await volume.publish(request("/a"), until: later)
        work.state.withLock { $0.failures["commit"] = PerSSDError(.unavailable, "the bucket does not answer") }
        let error = await #expect(throws: PerSSDError.self) {
            try await volume.unpublish(path: "/a", inBackground: false, until: later)
        }
        #expect(error?.code == .unavailable)
        #expect(await !volume.isIdle)
        #expect(await volume.stageOutFailure?.text.contains("the bucket does not answer") == true)
        // Nobody asks again: the volume's own retry comes after some two seconds.
        let deadline = ContinuousClock.now + .seconds(60)
        while await !volume.isIdle, .now < deadline { try await Task.sleep(for: .milliseconds(50)) }
        #expect(await volume.isIdle)
        #expect(await volume.stageOutFailure == nil)
    }

    @Test func unpublishingWhatIsStillBeingRestoredStopsIt() async throws {
        let work = ScriptedWork()
        work.publishGate.close()
        let volume = actor(work)
        await #expect(throws: PerSSDError.self) { try await volume.publish(request("/a"), until: soon) }
        try await volume.unpublish(path: "/a", inBackground: false, until: later)
        #expect(work.log == ["unpublish /a last"])
    }

    @Test func anExpansionWhoseTimeIsUpIsJoinedByItsRetry() async throws {
        let work = ScriptedWork()
        let volume = actor(work)
        try await volume.publish(request("/a"), until: later)
        work.expandGate.close()
        let wanted = Expansion(path: "/a", requiredBytes: 7, limitBytes: 0)
        for _ in 0..<2 {
            let error = await #expect(throws: PerSSDError.self) { try await volume.expand(wanted, until: soon) }
            #expect(error?.code == .aborted && error?.message == "growing")
        }
        work.expandGate.open()
        try await volume.expand(wanted, until: later)
        #expect(work.log == ["publish /a", "expand 7"])
        // The next one looks anew: it may be what finishes the work of one that failed.
        work.state.withLock { $0.failures["expand 7"] = PerSSDError(.resourceExhausted, "the pool is full") }
        await #expect(throws: PerSSDError.self) { try await volume.expand(wanted, until: later) }
        try await volume.expand(wanted, until: later)
        try await volume.unpublish(path: "/a", inBackground: false, until: later)
        #expect(await volume.isIdle)
    }

    @Test func aCheckpointIsCutAndSentWhileThePodGoesOn() async throws {
        let work = ScriptedWork()
        let volume = actor(work)
        try await volume.publish(request("/a"), until: later)
        work.sendGate.close()
        let error = await #expect(throws: PerSSDError.self) { try await volume.checkpoint(until: soon) }
        #expect(error?.code == .aborted && error?.message == "staging out")
        try await volume.publish(request("/b"), until: later)
        try await volume.unpublish(path: "/b", inBackground: false, until: later)
        work.sendGate.open()
        try await volume.checkpoint(until: later)
        try await volume.unpublish(path: "/a", inBackground: false, until: later)
        #expect(work.log.filter { $0 == "cut published" }.count == 2)
        #expect(work.state.withLock { $0.closings } == [false, false, true])
        #expect(await volume.isIdle)
    }

    @Test func aCheckpointThatCannotCutSaysSoAndThePodGoesOn() async throws {
        let work = ScriptedWork()
        let volume = actor(work)
        try await volume.publish(request("/a"), until: later)
        work.state.withLock { $0.failures["cut published"] = PerSSDError(.failedPrecondition, "no reflink") }
        let error = await #expect(throws: PerSSDError.self) { try await volume.checkpoint(until: later) }
        #expect(error?.code == .failedPrecondition)
        #expect(!work.log.contains("commit"))
        try await volume.unpublish(path: "/a", inBackground: false, until: later)
        #expect(await volume.isIdle)
    }

    @Test func aRetiredVolumeBeginsNothing() async throws {
        let volume = actor(ScriptedWork())
        #expect(await volume.retire())
        let error = await #expect(throws: PerSSDError.self) { try await volume.publish(request("/a"), until: later) }
        #expect(error?.code == .aborted)
    }

    @Test func onlyOneEvictsAVolumeAndAnEvictionThatFailedLeavesIt() async throws {
        let volume = actor(ScriptedWork())
        #expect(await volume.retire())
        #expect(await !volume.retire())
        await volume.reinstate()
        try await volume.publish(request("/a"), until: later)
    }

    @Test func aPublishedVolumeDoesNotRetire() async throws {
        let volume = actor(ScriptedWork())
        try await volume.publish(request("/a"), until: later)
        #expect(await !volume.retire())
    }

    // MARK: Held back

    private func heldBack(_ work: ScriptedWork, for granted: Duration) async throws -> VolumeActor {
        work.state.withLock { $0.granted = granted }
        let volume = actor(work)
        try await volume.publish(request("/a"), until: later)
        try await volume.unpublish(path: "/a", inBackground: true, delay: .seconds(3600), until: later)
        return volume
    }

    @Test func aPodThatComesBackFindsNothingCut() async throws {
        let work = ScriptedWork()
        let volume = try await heldBack(work, for: .seconds(3600))
        #expect(await volume.isHeldBack)
        #expect(await !volume.isIdle)
        // A repeated call does not end it, and does not begin it anew.
        try await volume.unpublish(path: "/a", inBackground: true, delay: .seconds(3600), until: later)
        #expect(await volume.isHeldBack)
        try await volume.publish(request("/b"), until: later)
        #expect(await !volume.isHeldBack)
        #expect(!work.log.contains("cut"))
        #expect(work.log.filter { $0 == "hold back" }.count == 1)
    }

    @Test func theDelayEndsByItself() async throws {
        let work = ScriptedWork()
        let volume = try await heldBack(work, for: .milliseconds(50))
        let deadline = ContinuousClock.now + .seconds(60)
        while await !volume.isIdle, .now < deadline { try await Task.sleep(for: .milliseconds(20)) }
        #expect(await volume.isIdle)
        #expect(work.state.withLock { $0.closings } == [true])
    }

    @Test func whereTheBucketDoesNotSayThatItIsHeldBackItIsStagedOutAtOnce() async throws {
        let work = ScriptedWork()
        let volume = actor(work)
        try await volume.publish(request("/a"), until: later)
        try await volume.unpublish(path: "/a", inBackground: false, delay: .seconds(3600), until: later)
        #expect(work.log == ["publish /a", "unpublish /a last", "hold back", "cut", "commit"])
        #expect(await volume.isIdle)
    }

    @Test func whoeverSettlesEndsTheDelay() async throws {
        let work = ScriptedWork()
        let volume = try await heldBack(work, for: .seconds(3600))
        try await volume.settle(inBackground: false, until: later)
        #expect(await volume.isIdle)
        #expect(work.log.last == "commit")
    }

    /// Nobody asks twice.
    @Test func whoeverAsksWhileThePodGoesIsHeard() async throws {
        let work = ScriptedWork()
        work.state.withLock { $0.granted = .seconds(3600) }
        let volume = actor(work)
        try await volume.publish(request("/a"), until: later)
        work.holdGate.close()
        async let gone: Void = volume.unpublish(path: "/a", inBackground: true, delay: .seconds(3600), until: later)
        while !work.log.contains("unpublish /a last") { try await Task.sleep(for: .milliseconds(2)) }
        try await volume.settle(inBackground: true, until: later)
        work.holdGate.open()
        try await gone
        try await volume.settle(inBackground: false, until: later)
        #expect(await volume.isIdle)
        #expect(await !volume.isHeldBack)
    }

    @Test func aCheckpointThatFailsAfterThePodIsGoneLeavesItHeldBack() async throws {
        let work = ScriptedWork()
        work.state.withLock { $0.granted = .seconds(3600) }
        let volume = actor(work)
        try await volume.publish(request("/a"), until: later)
        work.sendGate.close()
        await #expect(throws: PerSSDError.self) { try await volume.checkpoint(until: soon) }
        try await volume.unpublish(path: "/a", inBackground: true, delay: .seconds(3600), until: later)
        work.state.withLock { $0.failures["commit"] = PerSSDError(.unavailable, "the bucket is away") }
        work.sendGate.open()
        try? await volume.outlastStageOut(until: later)
        // The first retry of what nobody waits for comes after two seconds.
        try await Task.sleep(for: .seconds(3))
        #expect(await volume.isHeldBack)
        #expect(work.log.filter { $0 == "cut" }.count == 1)
        try await volume.settle(inBackground: false, until: later)
        #expect(await volume.isIdle)
    }
}
