import Errors
import Foundation
import Logging
import NodeControl
import Persistence

/// Brings all volumes of the node to the bucket, once: those that pods have by a checkpoint, the others by staging them out. No more
/// of them at a time than the node has transfers, each chosen when its turn comes, so that a cut is as young as can be.
///
/// Nothing is cut off: what is not committed by the deadline goes on, and commits whole or not at all, however soon the process
/// ends.
actor NodeFlush {
    private let volumes: NodeVolumes
    private let environment: NodeEnvironment
    private let slots: Int
    private let deadline: ContinuousClock.Instant?
    private let retryPause: Duration
    private let start = ContinuousClock.now
    private var waiting: [VolumeID: FlushPlan.Candidate] = [:]
    private var begun: [VolumeID] = []
    private var entries: [VolumeID: FlushReport.Volume] = [:]
    private var found: [VolumeID: FlushableVolume] = [:]
    private var isFinished = false
    private var ephemeralVolumes = 0

    /// How often a volume is tried whose stage-out fails for what may pass.
    private static let mostTries = 3

    /// - Parameters:
    ///   - slots: how many volumes at a time.
    ///   - deadline: nil for as long as it takes.
    init(
        volumes: NodeVolumes, environment: NodeEnvironment, slots: Int, deadline: ContinuousClock.Instant?,
        retryPause: Duration = .seconds(2)
    ) {
        (self.volumes, self.environment, self.slots) = (volumes, environment, slots)
        (self.deadline, self.retryPause) = (deadline, retryPause)
    }

    /// - Parameter ephemeralVolumes: how many there are, for the report.
    @discardableResult
    func run(ephemeralVolumes: Int = 0) async -> FlushReport {
        self.ephemeralVolumes = ephemeralVolumes
        // What comes to be dirty and without a pod while this runs, as when pods are ended, is this flush's, too.
        while await lookAround() {
            await withTaskGroup(of: Void.self) { group in
                for _ in 0..<slots { group.addTask { await self.work() } }
            }
            guard timeIsLeft else { break }
        }
        for id in waiting.keys where entries[id]?.outcome == .waiting { entries[id]?.outcome = .notBegun }
        isFinished = true
        for (id, entry) in entries where !entry.outcome.isSafe {
            let why = entry.detail ?? "its turn did not come before the deadline"
            await found[id]?.work.tell(.notSaved(node: environment.node.node, why))
        }
        return await report()
    }

    /// How far it is.
    func report() async -> FlushReport {
        var report = FlushReport(
            node: environment.node.description, deadlineSeconds: deadline.map { ($0 - start) / .seconds(1) },
            seconds: (.now - start) / .seconds(1), isFinished: isFinished, ephemeralVolumes: ephemeralVolumes)
        let others = entries.keys.filter { !begun.contains($0) }.sorted { $0.rawValue < $1.rawValue }
        for id in begun + others {
            guard var entry = entries[id] else { continue }
            if entry.outcome == .running { entry.detail = await found[id]?.actor.progressText }
            report.volumes.append(entry)
        }
        return report
    }

    private var timeIsLeft: Bool { deadline.map { .now < $0 } ?? true }

    /// Finds what there is to do.
    ///
    /// - Returns: whether there is anything that was not looked at yet.
    private func lookAround() async -> Bool {
        for volume in await volumes.flushable() {
            let id = volume.work.volume
            if let known = entries[id] {
                guard known.isPublished, !volume.isPublished else { continue }
                begun.removeAll { $0 == id }
            }
            // From memory alone: a bucket that does not answer must not keep anybody from hearing that.
            let unsaved = await volume.work.unsavedBytes()
            waiting[id] = FlushPlan.Candidate(id: id, isAwaited: volume.work.isAwaited, unsavedBytes: unsaved)
            found[id] = volume
            entries[id] = FlushReport.Volume(
                id: id.rawValue, name: volume.work.knownName, isPublished: volume.isPublished, outcome: .waiting,
                unsavedBytes: unsaved)
        }
        return !waiting.isEmpty
    }

    /// One of those that work beside each other: takes what is most wanted, until there is nothing, or no time.
    private func work() async {
        while timeIsLeft,
            let next = FlushPlan.next(
                of: Array(waiting.values), left: deadline.map { $0 - .now },
                bytesPerSecond: environment.speed.bytesPerSecond)
        {
            waiting[next.id] = nil
            begun.removeAll { $0 == next.id }
            begun.append(next.id)
            guard let volume = found[next.id] else { continue }
            if next.failures > 0 { try? await Task.sleep(for: retryPause) }
            entries[next.id]?.outcome = .running
            let beganAt = ContinuousClock.now
            let before = volume.work.newestGeneration
            volume.work.noteAwaited(until: deadline ?? .now + .seconds(86400))
            var failure: PerSSDError?
            do {
                try await flush(volume)
            } catch {
                failure = PerSSDError(wrapping: error)
            }
            await ended(volume, failure, beganAt: beganAt, before: before)
            if entries[next.id]?.outcome == .failed, mayPass(failure), next.failures + 1 < Self.mostTries {
                waiting[next.id] = next.failedOnceMore
            }
        }
    }

    private func flush(_ volume: FlushableVolume) async throws {
        let deadline = deadline ?? .now + .seconds(7 * 86400)
        // Whether a pod has it or not, as that may change at any time.
        try await volume.actor.checkpoint(until: deadline)
        // Of one that no pod has any more the head is closed, too.
        try await volume.actor.settle(inBackground: false, until: deadline)
    }

    private func ended(
        _ volume: FlushableVolume, _ failure: PerSSDError?, beganAt: ContinuousClock.Instant, before: UInt64?
    ) async {
        let id = volume.work.volume
        guard var entry = entries[id] else { return }
        entry.name = volume.work.knownName ?? entry.name
        entry.seconds = (.now - beganAt) / .seconds(1)
        entry.isPublished = await !volume.actor.targets.isEmpty
        let newest = volume.work.newestGeneration
        entry.generation = newest
        if let failure {
            entry.outcome = failure.code == .aborted && !timeIsLeft ? .late : .failed
            // That somebody may try again is no news of a flush.
            entry.detail = entry.outcome == .late ? failure.message : failure.description
        } else if volume.work.copy == nil {
            entry.outcome = .branch
        } else {
            entry.outcome = newest == before ? .unchanged : .committed
            entry.sentBytes = newest == before ? nil : volume.work.newestSentBytes
            entry.writtenSinceBytes = entry.isPublished ? await volume.work.unsavedBytes() : 0
        }
        entries[id] = entry
    }

    private func mayPass(_ failure: PerSSDError?) -> Bool {
        [.unavailable, .aborted, .conflict].contains(failure?.code)
    }
}

/// A volume that may hold what is not in the bucket.
struct FlushableVolume: Sendable {
    var actor: VolumeActor
    var work: LocalVolumeWork
    var isPublished: Bool
}

extension LocalVolumeWork {
    /// The number of the newest generation, as this node knows it.
    var newestGeneration: UInt64? { memory.withLock { $0.lastHead?.newest?.number } }

    /// As people know the volume, where its record was read.
    var knownName: String? {
        memory.withLock { memory in memory.volume.map { $0.claim?.description ?? $0.name } }
    }

    /// What was sent for it; nil where its record is not known here.
    var newestSentBytes: UInt64? {
        memory.withLock { memory in
            memory.lastHead?.newest.flatMap { memory.known($0)?.provenance.sentBytes }
        }
    }
}

extension NodePlugin {
    /// Brings all that this node's volumes hold to the bucket, the dirtiest and most urgent first.
    ///
    /// - Parameter deadline: what is not committed by then is told of, and goes on; nil for as long as it takes.
    /// - Returns: how far it is, about once a second, and at last how it ended. The flush ends with nobody who listens.
    public func flush(until deadline: ContinuousClock.Instant?) async -> AsyncStream<FlushReport> {
        let flush = NodeFlush(
            volumes: volumes, environment: environment, slots: concurrentTransfers, deadline: deadline)
        let (reports, continuation) = AsyncStream.makeStream(
            of: FlushReport.self, bufferingPolicy: .bufferingNewest(2))
        let logger = logger
        logger.notice(
            "flushing the node's volumes",
            metadata: ["deadline": "\(deadline.map { ($0 - .now).text } ?? "none")"])
        let ephemeralVolumes = await ephemerals.count
        Task {
            let ticker = Task {
                while (try? await Task.sleep(for: .seconds(1))) != nil { continuation.yield(await flush.report()) }
            }
            let report = await flush.run(ephemeralVolumes: ephemeralVolumes)
            ticker.cancel()
            _ = await ticker.value
            for volume in report.volumes {
                logger.log(
                    level: volume.outcome.isSafe ? .info : .error, "flush: \(volume.text)",
                    metadata: ["volume": "\(volume.id)"])
            }
            logger.log(level: report.isComplete ? .notice : .error, "flush: \(report.summary)")
            continuation.yield(report)
            continuation.finish()
        }
        return reports
    }
}
