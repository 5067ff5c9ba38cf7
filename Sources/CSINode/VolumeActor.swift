import Errors
import Foundation
import Logging
import Persistence
import Synchronization

/// What an RPC asks of a volume, beyond where it is to be published.
struct PublishRequest: Sendable {
    var publication: Publication
    /// The epoch that the controller granted, from the publish context; nil where nobody attached the volume.
    var epoch: UInt64?
    /// Who is to have it there; nil where nobody says.
    var use: VolumeUse?
    /// Of a volume that many nodes read, the number of the generation that the controller let this node read; nil as above.
    var generation: UInt64?
    /// Of an ephemeral volume, what it is to be.
    var ephemeral: EphemeralAttributes?
}

/// What has to be done to a volume's local copy, device, mounts and records. One implementation works on the real
/// things; tests have others that fail where they like.
protocol VolumeWork: Sendable {
    /// Makes the local copy current and publishes it.
    ///
    /// - Parameter opened: called before the first write can happen.
    func publish(
        _ request: PublishRequest, isFirst: Bool, progress: WorkProgress, opened: @Sendable () async -> Void
    ) async throws
    /// Takes one target away; with the last one the file system and, where nothing is dirty, the device, too.
    func unpublish(path: String, isLast: Bool) async throws
    /// Says in the bucket that what is dirty and no longer used is held back on this node, for as long as the volume's parameters
    /// allow.
    ///
    /// - Returns: for how long; nil where it has to be staged out at once.
    func holdBack(for delay: Duration) async -> Duration?
    /// Makes the published volume larger. Called again, it finishes what an earlier try left undone.
    func expand(_ wanted: Expansion, progress: WorkProgress) async throws
    /// Cuts the volume as it is, under the pods that have it. The next `stageOut` sends this cut.
    ///
    /// - Throws: `failedPrecondition` where the pool cannot.
    func cut() async throws
    /// Brings the local copy to the bucket and commits it: what `cut` has cut, or else a cut of its own.
    ///
    /// - Parameters:
    ///   - cutMade: called with whether the copy may be written while the rest goes on.
    ///   - isClosing: asked right before the commit: whether it closes the head.
    func stageOut(
        progress: WorkProgress, cutMade: @Sendable (_ isIndependent: Bool) async -> Void,
        isClosing: @Sendable () async -> Bool
    ) async throws
}

/// Runs one volume's work as `VolumeMachine` allows it, whichever calls come and go meanwhile.
actor VolumeActor {
    /// Its id, for messages.
    let volume: String
    private var machine: VolumeMachine
    private var jobs: [VolumeMachine.Work.Track: Job] = [:]
    private let work: any VolumeWork
    private let logger: Logger
    private var retry: Task<Void, Never>?
    /// Ends the time for which the volume is held back.
    private var delay: (end: Task<Void, Never>, since: ContinuousClock.Instant)?
    private var failures = 0
    /// Set while staging out fails.
    private(set) var stageOutFailure: StageOutFailure?
    private var isRetired = false

    /// Pauses between tries of a stage-out that nobody waits for.
    private static let retryPauses: [Duration] = [.seconds(2), .seconds(10), .seconds(30), .seconds(60), .seconds(300)]

    init(_ volume: some DerivedID, found: VolumeMachine, work: any VolumeWork, logger: Logger) {
        self.volume = volume.rawValue
        self.machine = found
        self.work = work
        self.logger = logger
    }

    var targets: [Publication] { Array(machine.targets.values) }
    var isIdle: Bool { machine.isIdle }
    /// How far the work on it is, in words; nil where there is none.
    var progressText: String? {
        [.stageOut, .access].compactMap { jobs[$0] }.first { $0.result == nil }?.progressText
    }
    var isHeldBack: Bool { machine.isHeldBack }
    /// Since when it waits for a pod; nil where it does not.
    var heldBackSince: ContinuousClock.Instant? { machine.isHeldBack ? delay?.since : nil }

    /// Where the volume is idle, no further work is begun on this object: its local copy may be evicted.
    ///
    /// - Returns: whether the caller is the one to do it.
    func retire() -> Bool {
        guard machine.isIdle, !isRetired else { return false }
        isRetired = true
        return true
    }

    /// The eviction failed, and the local copy stays.
    func reinstate() { isRetired = false }

    /// Publishes the volume, or joins the work that does.
    ///
    /// - Throws: `aborted` with the progress at the deadline; the work goes on.
    func publish(_ request: PublishRequest, until deadline: ContinuousClock.Instant) async throws {
        try await carryOut(until: deadline) {
            machine.publish(request.publication)
        } start: { work in
            guard work != .stageOut else { return beginStageOut() }
            begin(
                .access, "restoring",
                work: { [work = self.work, isFirst = machine.targets.isEmpty] progress in
                    try await work.publish(request, isFirst: isFirst, progress: progress) { await self.opened() }
                },
                ended: { result in
                    await self.accessEnded(result) { $0.published(request.publication) }
                })
        }
    }

    /// Unpublishes one target, and with the last one stages the volume out.
    ///
    /// - Parameters:
    ///   - inBackground: return as soon as the cut is safe from the next writer, instead of when it is committed.
    ///   - delay: how long the stage-out may be put off, for a pod that may come next; nil for not at all.
    func unpublish(
        path: String, inBackground: Bool, delay: Duration? = nil, until deadline: ContinuousClock.Instant
    ) async throws {
        var isDone = false
        try await carryOut(until: deadline) {
            // Taking a target away is asked for once; being asked again is how the loop learns that it is done.
            isDone ? .done : machine.unpublish(path: path)
        } start: { _ in
            isDone = true
            let isLast = machine.targets.keys.allSatisfy { $0 == path }
            let delay = machine.mayBeHeldBack(after: path) ? delay : nil
            let held = Mutex<Duration?>(nil)
            begin(
                .access, "unmounting",
                work: { [work] _ in
                    try await work.unpublish(path: path, isLast: isLast)
                    // Before anybody hears that the pod is gone, and asks whether all is committed.
                    guard let delay, let granted = await work.holdBack(for: delay) else { return }
                    held.withLock { $0 = granted }
                },
                ended: { result in await self.unpublishEnded(result, path, heldBackFor: held.withLock { $0 }) })
        }
        guard !machine.isHeldBack else { return }
        try await settle(inBackground: inBackground, until: deadline)
    }

    /// Makes the published volume larger, or joins the work that does.
    ///
    /// - Throws: `aborted` with the progress at the deadline; the work goes on.
    func expand(_ wanted: Expansion, until deadline: ContinuousClock.Instant) async throws {
        var isDone = false
        try await carryOut(until: deadline) {
            isDone ? .done : machine.expand(wanted)
        } start: { _ in
            isDone = true
            begin(
                .access, "growing",
                work: { [work] progress in try await work.expand(wanted, progress: progress) },
                ended: { result in await self.accessEnded(result) { $0.expanded() } })
        }
    }

    /// Begins no stage-out of what is dirty and not published for this long, unless somebody asks for one.
    func holdBack(for duration: Duration) {
        machine.heldBack()
        guard machine.isHeldBack else { return }
        delay?.end.cancel()
        let end = Task { [weak self] in
            guard (try? await Task.sleep(for: duration)) != nil else { return }
            await self?.endDelay()
        }
        delay = (end, .now)
    }

    private func endDelay() async {
        // A pod may have come and gone meanwhile, and begun another.
        guard machine.isHeldBack, !Task.isCancelled else { return }
        try? await settle(inBackground: true, until: .now)
    }

    /// Brings what is dirty and not published to the bucket, or joins the work that does. Whatever held it back is over.
    func settle(inBackground: Bool, until deadline: ContinuousClock.Instant) async throws {
        if inBackground {
            if case .start = machine.settle() { beginStageOut() }
            return
        }
        try await carryOut(until: deadline) {
            machine.settle()
        } start: { _ in
            beginStageOut()
        }
    }

    /// Makes what the volume holds now, or held a little later, a generation, whether pods have it or not; of a volume that
    /// has nothing uncommitted this is nothing.
    ///
    /// - Throws: `aborted` with the progress at the deadline; the work goes on, and a further call is another checkpoint.
    func checkpoint(until deadline: ContinuousClock.Instant) async throws {
        guard try await cut(until: deadline) else { return }
        try await jobs[.stageOut]?.wait(until: deadline)
    }

    /// The first half of a checkpoint. Its stage-out goes on when this returns.
    ///
    /// - Parameter isNeedless: asked whenever other work had to be waited for: whether that has cut what the caller wants.
    /// - Returns: false where the volume is not published, or holds nothing uncommitted: all of it is committed then.
    @discardableResult
    func cut(
        until deadline: ContinuousClock.Instant, unless isNeedless: @Sendable () -> Bool = { false }
    ) async throws -> Bool {
        var isCut = false
        try await carryOut(until: deadline) {
            isCut || isNeedless() ? .done : machine.checkpoint()
        } start: { work in
            guard work == .cut else { return beginStageOut() }
            isCut = true
            begin(
                .access, "cutting", work: { [work = self.work] _ in try await work.cut() },
                ended: { await self.cutEnded($0) })
        }
        return isCut
    }

    /// Waits until a stage-out that runs is over, however it ends.
    func outlastStageOut(until deadline: ContinuousClock.Instant) async throws {
        try await outlast(jobs[.stageOut], until: deadline)
    }

    // MARK: Work

    private func carryOut(
        until deadline: ContinuousClock.Instant, ask: () -> VolumeMachine.Step,
        start: (VolumeMachine.Work) -> Void
    ) async throws {
        guard !isRetired else {
            throw PerSSDError(.aborted, "the local copy of volume \(volume) is being evicted", remedy: "try again")
        }
        while true {
            switch ask() {
            case .done: return
            case .refuse(let error): throw error
            case .start(let work):
                start(work)
                try await jobs[work.track]?.wait(until: deadline)
            case .join(let track):
                try await jobs[track]?.wait(until: deadline)
                return
            case .await(let track):
                try await outlast(jobs[track], until: deadline)
            case .stop(let track):
                jobs[track]?.cancel()
                try await outlast(jobs[track], until: deadline)
            }
        }
    }

    /// Waits until a job is over, however it ends.
    private func outlast(_ job: Job?, until deadline: ContinuousClock.Instant) async throws {
        do {
            try await job?.wait(until: deadline)
        } catch {
            if job?.result == nil { throw error }
        }
    }

    private func begin(
        _ track: VolumeMachine.Work.Track, _ title: String,
        work: @escaping @Sendable (WorkProgress) async throws -> Void,
        ended: @escaping @Sendable (Result<Void, PerSSDError>) async -> Void
    ) {
        let progress = WorkProgress(title)
        jobs[track] = Job(progress: progress, work: { try await work(progress) }, ended: ended)
    }

    private func beginStageOut() {
        begin(
            .stageOut, "staging out",
            work: { [work] progress in
                try await work.stageOut(progress: progress) {
                    await self.cutMade(isIndependent: $0)
                } isClosing: {
                    await self.beginClosing()
                }
            },
            ended: { await self.stageOutEnded($0) })
    }

    private func cutEnded(_ result: Result<Void, PerSSDError>) {
        accessEnded(result) { $0.cutWhilePublished() }
        if case .success = result { beginStageOut() }
    }

    private func beginClosing() -> Bool { machine.beginClosing() }
    private func opened() { machine.opened() }
    private func cutMade(isIndependent: Bool) { machine.cutMade(isIndependent: isIndependent) }

    private func unpublishEnded(
        _ result: Result<Void, PerSSDError>, _ path: String, heldBackFor duration: Duration?
    ) {
        accessEnded(result) { $0.unpublished(path: path) }
        if case .success = result, let duration { holdBack(for: duration) }
    }

    private func accessEnded(_ result: Result<Void, PerSSDError>, _ succeeded: (inout VolumeMachine) -> Void) {
        switch result {
        case .success: succeeded(&machine)
        case .failure(let error):
            machine.accessFailed()
            logger.warning("\(error)", metadata: ["volume": "\(volume)"])
            // A publish that failed after the volume was opened leaves it dirty, and nobody may ever ask again.
            if machine.targets.isEmpty, machine.isDirty, !machine.isHeldBack { scheduleRetry() }
        }
    }

    private func stageOutEnded(_ result: Result<Void, PerSSDError>) {
        switch result {
        case .success:
            failures = 0
            stageOutFailure = nil
            machine.committed()
            // A publish that failed while this ran has left nothing that would ask again.
            if machine.targets.isEmpty, machine.access == .none, machine.isDirty, !machine.isHeldBack {
                scheduleRetry()
            }
        case .failure(let error):
            machine.stageOutFailed()
            stageOutFailure = StageOutFailure(since: stageOutFailure?.since ?? Date(), error: error)
            logger.error("\(error)", metadata: ["volume": "\(volume)"])
            if !machine.isHeldBack { scheduleRetry() }
        }
    }

    /// Work that nobody waits for is tried again by itself, ever more seldom.
    private func scheduleRetry() {
        let pause = Self.retryPauses[min(failures, Self.retryPauses.count - 1)]
        failures += 1
        retry?.cancel()
        retry = Task { [weak self] in
            guard (try? await Task.sleep(for: pause)) != nil else { return }
            try? await self?.settle(inBackground: true, until: .now)
        }
    }
}

extension VolumeMachine.Work {
    var track: Track {
        switch self {
        case .publish, .unpublish, .expand, .cut: .access
        case .stageOut: .stageOut
        }
    }
}
