import Errors
import LocalVolumes
import Persistence
import VolumeEvents

/// The work on a volume, and what its users hear of it: that it takes long, that it failed, what it came to.
struct ToldVolumeWork: VolumeWork {
    let work: LocalVolumeWork

    func publish(
        _ request: PublishRequest, isFirst: Bool, progress: WorkProgress, opened: @Sendable () async -> Void
    ) async throws {
        let pods = (request.use?.pod).map { [$0] } ?? []
        try await work.telling(of: progress, as: { .restoring($0) }, to: { pods }) {
            try await work.publish(request, isFirst: isFirst, progress: progress, opened: opened)
        }
        if isFirst { work.tellPublished(request, to: pods) }
    }

    func unpublish(path: String, isLast: Bool) async throws {
        try await work.unpublish(path: path, isLast: isLast)
    }

    func holdBack(for delay: Duration) async -> Duration? {
        let granted = await work.holdBack(for: delay)
        if let granted { await work.tell(.heldBack(node: work.environment.node.node, granted)) }
        return granted
    }

    func expand(_ wanted: Expansion, progress: WorkProgress) async throws {
        try await work.expand(wanted, progress: progress)
    }

    func cut() async throws {
        do {
            try await work.cut()
        } catch {
            // A group snapshot that is not wanted any more is nobody's trouble.
            let failure = PerSSDError(wrapping: error)
            if ![.aborted, .cancelled].contains(failure.code) { await work.tell(.cutFailed("\(failure)")) }
            throw error
        }
    }

    func stageOut(
        progress: WorkProgress, cutMade: @Sendable (_ isIndependent: Bool) async -> Void,
        isClosing: @Sendable () async -> Bool
    ) async throws {
        do {
            try await work.telling(of: progress, as: { .stagingOut($0) }, to: { await work.uses().latestPods }) {
                try await work.stageOut(progress: progress, cutMade: cutMade, isClosing: isClosing)
            }
        } catch {
            await work.tell(.stageOutFailed("\(PerSSDError(wrapping: error))"))
            throw error
        }
    }
}

extension VolumeUses {
    /// The pods that have the volume; where none does, the one that had it last.
    var latestPods: [VolumeUse.Pod] {
        let present = entries.filter { $0.use.endedAt == nil }
        let last = entries.max { ($0.use.endedAt ?? .distantPast) < ($1.use.endedAt ?? .distantPast) }
        var pods: [VolumeUse.Pod] = []
        for pod in (present.isEmpty ? last.map { [$0] } ?? [] : present).compactMap(\.use.pod)
        where !pods.contains(pod) {
            pods.append(pod)
        }
        return pods
    }
}

extension LocalVolumeWork {
    /// Tells the claim, and the pods that have the volume or had it last.
    func tell(_ occurrence: Occurrence) async { tell(occurrence, to: await uses().latestPods) }

    /// What is not known without asking the bucket is left out: it may be the bucket that the event is about.
    func tell(_ occurrence: Occurrence, to pods: [VolumeUse.Pod]) {
        let claim = memory.withLock { $0.volume }.flatMap { VolumeEvent.Claim(of: $0) }
        environment.events.tell(
            VolumeEvent(occurrence, of: volume, claim: claim, pods: pods, at: environment.catalog.time))
    }

    /// Does the work, and tells how far it is once it has taken long.
    func telling(
        of progress: WorkProgress, as occurrence: @escaping @Sendable (String) -> Occurrence,
        to pods: @escaping @Sendable () async -> [VolumeUse.Pod], _ body: () async throws -> Void
    ) async throws {
        let times = environment.progressTold
        let ticking = Task {
            try await Task.sleep(for: times.after)
            while true {
                let pods = await pods()
                try Task.checkCancellation()
                tell(occurrence(progress.text), to: pods)
                try await Task.sleep(for: times.every)
            }
        }
        defer { ticking.cancel() }
        try await body()
    }

    /// Remembers what a restore took, for when the volume is published.
    func noteRestored(
        _ target: GenerationRecord, over older: UInt64?, _ progress: WorkProgress, since start: ContinuousClock.Instant
    ) {
        let moved = progress.transferred
        let restored = Occurrence.Restored(
            target.number, of: target.volume == volume ? nil : target.volume, older: older,
            bytes: moved?.doneBytes ?? 0, receivedBytes: moved?.transferredBytes ?? 0, duration: .now - start)
        memory.withLock { $0.restored = restored }
    }

    /// The volume has got its first pod. Where nothing was fetched there is nothing to tell.
    func tellPublished(_ request: PublishRequest, to pods: [VolumeUse.Pod]) {
        let (restored, head, wasAhead) = memory.withLock { ($0.restored, $0.lastHead, $0.wasAhead) }
        if let restored { tell(.restored(restored), to: pods) }
        // Nobody has committed anything since, so this is the pod that goes back in time.
        guard !request.publication.isReadOnly, !wasAhead, let head, let loss = head.loss,
            loss.newestGeneration == head.newest?.number ?? 0
        else { return }
        tell(.dataLost(loss), to: pods)
    }

    /// The last pod's work is safe.
    func tellCommitted(
        _ generation: GenerationReference?, after parent: GenerationReference?, _ staged: StagedOut, _ made: MadeCut
    ) {
        let pods = made.uses.latestPods
        guard let generation, generation != parent else {
            return tell(.unchanged(generation?.number ?? 0), to: pods)
        }
        let took = Duration.seconds(max(0, environment.catalog.time.timeIntervalSince(made.at)))
        tell(
            .committed(
                Occurrence.Committed(
                    generation.number, changedBytes: staged.statistics.plainBytes,
                    sentBytes: staged.statistics.sentBytes, duration: took)), to: pods)
    }

    func tellOfBranch(_ record: CopyRecord, _ uses: VolumeUses) {
        let branch = Occurrence.Branch(
            epoch: record.epoch, base: record.generation, node: environment.node.node)
        tell(.branchKept(branch), to: uses.latestPods)
    }
}
