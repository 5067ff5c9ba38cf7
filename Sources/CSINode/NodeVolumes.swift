import Errors
import Foundation
import LinuxSystem
import LocalVolumes
import Logging
import Metering
import Persistence
import SystemPackage
import Units

/// The volumes of this node: one actor each, made when it is first asked for, or found at start.
actor NodeVolumes {
    private var volumes: [VolumeID: Entry] = [:]
    private let environment: NodeEnvironment
    /// Until then, what is not known here may still be there.
    private var isRecovered = false

    private struct Entry {
        var actor: VolumeActor
        var work: LocalVolumeWork
    }

    init(environment: NodeEnvironment) { self.environment = environment }

    /// Takes up what an earlier process, or an earlier life of this machine, has left: what is mounted stays published,
    /// what is dirty and not mounted is staged out, and what was being restored is gone already.
    func recover(_ found: [RecoveredCopy]) async throws {
        for copy in found { try await takeUp(copy.copy, in: copy.pool) }
        isRecovered = true
        do {
            try await environment.useFiles.removeAll(besides: Set(volumes.keys.map(\.rawValue)))
        } catch {
            environment.logger.warning("what was noted of volumes that have gone stays: \(error)")
        }
    }

    private func takeUp(_ copy: LocalCopy, in pool: any VolumePool) async throws {
        let name = copy.record.volume
        guard let id = VolumeID(name) else {
            environment.logger.error("a local copy has no volume's name and is left alone: \(name)")
            return
        }
        environment.logger.info(
            "found a local copy",
            metadata: ["volume": "\(id)", "pool": "\(pool.name)", "state": "\(copy.record.state.rawValue)"])
        if volumes[id] != nil {
            // A copy goes before the volume's next life gets one in another pool, so somebody moved files or drives.
            environment.logger.error(
                "the volume has a local copy in another pool already, and this one is left alone: take one away by hand",
                metadata: ["volume": "\(id)", "pool": "\(pool.name)"])
            return
        }
        // A stage-out that was killed begins anew with a cut of its own: what it had sent is garbage in any case.
        try await pool.discardPendingCut(name)
        let targets = try await environment.targets(of: copy)
        // A restore that was not finished, and what a mount had changed: never to be served.
        let isWorthless = copy.record.state == .restoring || targets.isEmpty && copy.record.state == .recovered
        if targets.isEmpty {
            if try await environment.publisher.unstage(name) == .btrfs, let device = copy.device {
                try await environment.fileSystems.forget(device)
            }
            if isWorthless { try await pool.remove(name) } else { try await pool.detach(name) }
        }
        let isRead = copy.record.use == .reading
        let entry = add(
            id,
            found: isWorthless ? nil : LocalCopy(record: copy.record, device: targets.isEmpty ? nil : copy.device),
            in: isWorthless ? nil : pool,
            // Taken for dirty even where its record says clean: the head may have been opened just before the end, and
            // has to be closed. What many nodes read is committed, and was before it was published.
            machine: VolumeMachine(targets: targets, isDirty: !isRead || targets.isEmpty))
        await entry.work.updateUses { [now = environment.catalog.time, paths = Set(targets.keys)] in
            $0.endAll(besides: paths, now: now)
        }
        if isRead, targets.isEmpty { try await entry.work.readNoMore() }
        guard targets.isEmpty else { return }
        if let remaining = await entry.work.remainingDelay() {
            await entry.actor.holdBack(for: remaining)
        } else {
            try await entry.actor.settle(inBackground: true, until: .now)
        }
    }

    /// The volume's record in the bucket; where that does not answer, as it was last read, if this node has the volume.
    ///
    /// - Throws: `notFound` where it is deleted.
    func record(of id: VolumeID) async throws -> VolumeRecord {
        guard let work = volumes[id]?.work else { return try await environment.catalog.volume(id).record }
        do {
            return try await work.refreshRecord()
        } catch let error as PerSSDError where error.code != .notFound {
            return try await work.volumeRecord()
        }
    }

    /// The volumes that pods have, or that are on their way into the bucket.
    func inUse() async -> [VolumeID] {
        var found: [VolumeID] = []
        for (id, entry) in volumes where await !entry.actor.isIdle { found.append(id) }
        return found
    }

    /// Takes up what has changed in a volume's record; nothing where this node does not have the volume.
    func refreshRecord(of id: VolumeID) async throws {
        guard let entry = volumes[id] else { return }
        do {
            try await entry.work.refreshRecord()
        } catch let error as PerSSDError where error.code == .notFound {
            // Deleted: of what is held back nothing is sent, and its local copy goes.
            guard await entry.actor.isHeldBack else { throw error }
            return try await entry.actor.settle(inBackground: true, until: .now)
        }
        guard await entry.actor.isHeldBack, await !entry.work.mayStayHeldBack() else { return }
        try await entry.actor.settle(inBackground: true, until: .now)
    }

    /// How full a published volume is, and how well.
    func report(of id: VolumeID, at path: String) async throws -> VolumeReport {
        guard let entry = volumes[id],
            let publication = await entry.actor.targets.first(where: { $0.path == path })
        else { throw notPublished(id, path) }
        var problems = await entry.work.localProblems(publication)
        var usage: VolumeUsageReport?
        switch publication.access {
        case .block: usage = .device(bytes: entry.work.copy?.sizeBytes ?? 0)
        case .mount:
            do {
                usage = .fileSystem(try await environment.publisher.stats(of: id.rawValue))
            } catch {
                problems.append("how full it is cannot be told: \(PerSSDError(wrapping: error))")
            }
        }
        if let failure = await entry.actor.stageOutFailure { problems.append(failure.text) }
        return VolumeReport(
            usage: usage, problems: problems, pool: try? entry.work.pool.name,
            recoveryPoint: await entry.work.exposure()?.text(at: environment.catalog.time))
    }

    /// What the loss of this node would cost each volume that may be written here, or whose work is not all committed.
    func exposures() async -> [VolumeID: RecoveryExposure] {
        var found: [VolumeID: RecoveryExposure] = [:]
        for (id, entry) in volumes { found[id] = await entry.work.exposure() }
        return found
    }

    /// How many local copies there are in each state.
    func copyStates() -> [CopyRecord.State: Int] {
        volumes.values.reduce(into: [:]) { counts, entry in
            if let state = entry.work.copy?.state { counts[state, default: 0] += 1 }
        }
    }

    /// Of how many volumes this node has the lease open, as it last wrote or read their heads.
    func openLeases() -> Int { volumes.values.count { $0.work.hasOpenLease } }

    /// Reads what `exposures` does not know yet.
    func learnRecoveryPoints() async {
        for (_, entry) in volumes { await entry.work.learnRecoveryPoint() }
    }

    /// Makes a published volume as large as it is to be.
    ///
    /// - Returns: its size then, in bytes.
    /// - Throws: `notFound` where it is not published at the path.
    func expand(
        _ id: VolumeID, _ wanted: Expansion, until deadline: ContinuousClock.Instant
    ) async throws -> UInt64 {
        guard let entry = volumes[id] else { throw notPublished(id, wanted.path) }
        try await entry.actor.expand(wanted, until: deadline)
        return entry.work.copy?.sizeBytes ?? 0
    }

    /// The volumes that may hold what is not in the bucket, pods' and others'.
    func flushable() async -> [FlushableVolume] {
        var found: [FlushableVolume] = []
        for (_, entry) in volumes {
            guard let copy = entry.work.copy, copy.use == .volume, copy.state == .dirty else { continue }
            found.append(
                FlushableVolume(
                    actor: entry.actor, work: entry.work, isPublished: await !entry.actor.targets.isEmpty))
        }
        return found
    }

    /// Somebody waits for a volume's work to be committed.
    func noteAwaited(_ id: VolumeID, until time: ContinuousClock.Instant) {
        volumes[id]?.work.noteAwaited(until: time)
    }

    /// The published volumes whose next checkpoint is due.
    func dueForCheckpoint() async -> [(id: VolumeID, actor: VolumeActor)] {
        var due: [(id: VolumeID, actor: VolumeActor)] = []
        for (id, entry) in volumes where await !entry.actor.targets.isEmpty {
            if await entry.work.isCheckpointDue() { due.append((id, entry.actor)) }
        }
        return due
    }

    /// Cuts a volume for a snapshot, and goes on to commit what was cut. Returns when the cut is made, or is by an earlier
    /// call.
    ///
    /// - Throws: `notFound` where the volume is not on this node.
    func deliver(_ snapshot: SnapshotID, of id: VolumeID, until deadline: ContinuousClock.Instant) async throws {
        guard let entry = volumes[id], entry.work.copy != nil else {
            throw PerSSDError(.notFound, "volume \(id) is not on node \(environment.node.node)")
        }
        let work = entry.work
        guard work.want(snapshot) else { return }
        defer { work.noLongerWant(snapshot) }
        try await entry.actor.cut(until: deadline, unless: { !work.isWanted(snapshot) })
    }

    // MARK: Group snapshots

    /// Waits until a volume can be cut, and held, at once.
    ///
    /// - Throws: `failedPrecondition` where it never can.
    func prepare(_ cut: HeldCut, of id: VolumeID, until deadline: ContinuousClock.Instant) async throws {
        guard let entry = volumes[id], await !entry.actor.targets.isEmpty else {
            // The next try of the group pins what is committed then.
            try await volumes[id]?.actor.settle(inBackground: true, until: .now)
            throw notPublished(id)
        }
        try await entry.work.requireHoldable(cut)
        try await entry.actor.outlastStageOut(until: deadline)
        try await entry.work.easeFreezing()
    }

    /// Begins to cut a volume, and to hold it; how that went, the cut says.
    func begin(_ cut: HeldCut, of id: VolumeID, until deadline: ContinuousClock.Instant) {
        guard let entry = volumes[id] else { return cut.ended(notPublished(id)) }
        guard entry.work.holdNext(cut) else {
            return cut.ended(
                PerSSDError(.aborted, "volume \(id) is being cut for another group snapshot", remedy: "try again"))
        }
        let notPublished = notPublished(id)
        Task {
            var failure = notPublished
            do {
                try await entry.actor.cut(until: deadline, unless: { cut.isTaken })
            } catch {
                failure = PerSSDError(wrapping: error)
            }
            // Whoever has taken it up says how it ended.
            if entry.work.withdraw(cut) { cut.ended(failure) }
        }
    }

    /// Whether a snapshot's cut was made, and its stage-out has not ended yet.
    func isBringing(_ snapshot: SnapshotID, of id: VolumeID) -> Bool {
        volumes[id]?.work.isBringing(snapshot) ?? false
    }

    private func notPublished(_ id: VolumeID) -> PerSSDError {
        PerSSDError(
            .aborted, "volume \(id) is not published on node \(environment.node.node) any more", remedy: "try again")
    }

    private func notPublished(_ id: VolumeID, _ path: String) -> PerSSDError {
        PerSSDError(
            .notFound, "volume \(id) is not published at \(path) on node \(environment.node.node)",
            remedy: "publish it there first")
    }

    /// The volume's actor; made now if need be.
    func actor(for id: VolumeID) -> VolumeActor {
        (volumes[id] ?? add(id, found: nil, in: nil, machine: VolumeMachine())).actor
    }

    /// Puts on record that what was written here is lost, where the local copy is gone.
    func recordLossOfCopy(of id: VolumeID) async throws {
        guard let entry = volumes[id], await entry.actor.isIdle else { return }
        try await entry.work.recordLossOfCopy()
    }

    /// Begins at once to commit what is not committed of a volume that no pod has any more, and puts on record what is lost with
    /// its local copy. One that a pod has is left to its unpublish.
    ///
    /// - Throws: `unavailable` where it is not known yet what this node has.
    func handOver(_ id: VolumeID) async throws {
        guard isRecovered else {
            throw PerSSDError(
                .unavailable, "node \(environment.node.node) is still finding out which volumes it has",
                remedy: "try again")
        }
        let actor = actor(for: id)
        // The controller asks again as long as its caller does.
        noteAwaited(id, until: .now + .seconds(300))
        try await actor.settle(inBackground: true, until: .now)
        try await recordLossOfCopy(of: id)
        // What is found to be deleted, or to be another's by now, leaves nothing behind.
        Task {
            try? await actor.outlastStageOut(until: .now + .seconds(86_400))
            await forgetIfNothing(id)
        }
    }

    /// Drops the actor of a volume that this node has nothing of.
    func forgetIfNothing(_ id: VolumeID) async {
        guard let entry = volumes[id], entry.work.copy == nil, await entry.actor.retire() else { return }
        volumes[id] = nil
    }

    private func add(
        _ id: VolumeID, found: LocalCopy?, in pool: (any VolumePool)?, machine: VolumeMachine
    ) -> Entry {
        var environment = environment
        // This object has the volume for as long as it lives.
        environment.makeRoom = { [weak self] bytes, pool in try await self?.makeRoom(bytes, in: pool) }
        let work = LocalVolumeWork(id, found: found, in: pool, environment: environment)
        var logger = environment.logger
        logger[metadataKey: "volume"] = "\(id)"
        let actor = VolumeActor(id, found: machine, work: work, logger: logger)
        let entry = Entry(actor: actor, work: work)
        volumes[id] = entry
        return entry
    }

    /// What the node's record says of the pools.
    func poolReports() async throws -> [NodeRecord.PoolReport] {
        var reports: [NodeRecord.PoolReport] = []
        for pool in environment.pools.all {
            let usage = try await pool.usage()
            reports.append(
                NodeRecord.PoolReport(
                    name: pool.name, totalBytes: usage.totalBytes, freeBytes: usage.freeBytes,
                    evictableBytes: (await evictable(in: pool) + heldBack(in: pool)).reduce(0) {
                        $0 + $1.copy.sizeBytes
                    }))
        }
        return reports
    }

    private func evictable(in pool: any VolumePool) async -> [(id: VolumeID, copy: CopyRecord)] {
        var found: [(id: VolumeID, copy: CopyRecord)] = []
        for (id, entry) in volumes where (try? entry.work.pool.name) == pool.name {
            if let copy = entry.work.copy, copy.state == .clean, await entry.actor.isIdle { found.append((id, copy)) }
        }
        return found.sorted { $0.copy.lastUsed < $1.copy.lastUsed }
    }

    /// What could be evicted once it is committed, and waits only for pods that may never come: the one that has waited longest
    /// first.
    private func heldBack(in pool: any VolumePool) async -> [(id: VolumeID, copy: CopyRecord)] {
        var found: [(id: VolumeID, copy: CopyRecord, since: ContinuousClock.Instant)] = []
        for (id, entry) in volumes where (try? entry.work.pool.name) == pool.name {
            if let copy = entry.work.copy, let since = await entry.actor.heldBackSince {
                found.append((id, copy, since))
            }
        }
        return found.sorted { $0.since < $1.since }.map { ($0.id, $0.copy) }
    }

    /// Lets clean local copies that nobody uses go, least recently used first, until `bytes` are free; where these are not
    /// enough, those, too, that are held back, once they are committed.
    ///
    /// - Throws: `resourceExhausted`, with the sizes, where all of them together would not make enough room; why one that is
    ///   held back cannot be committed.
    func makeRoom(_ bytes: UInt64, in pool: any VolumePool) async throws {
        var free = try await pool.usage().freeBytes
        guard free < bytes else { return }
        let (clean, heldBack) = (await evictable(in: pool), await heldBack(in: pool))
        let possible = (clean + heldBack).reduce(free) { $0 + $1.copy.sizeBytes }
        guard possible >= bytes else {
            throw PerSSDError(
                .resourceExhausted,
                "pool \(pool.name) (\(pool.location)) has \(ByteCount(free)) free and "
                    + "\(ByteCount(possible - free)) in local copies that could be evicted, and \(ByteCount(bytes)) "
                    + "are needed",
                remedy: "make the pool larger, or unpublish volumes on this node")
        }
        for (id, _) in clean where free < bytes {
            guard try await evict(id, from: pool) else { continue }
            free = try await pool.usage().freeBytes
        }
        for (id, _) in heldBack where free < bytes {
            try await volumes[id]?.actor.settle(inBackground: false, until: .now + .seconds(86_400))
            // A pod may have come to it after all.
            guard try await evict(id, from: pool) else { continue }
            free = try await pool.usage().freeBytes
        }
    }

    /// - Returns: false where it has come to be used, or is being evicted already.
    private func evict(_ id: VolumeID, from pool: any VolumePool) async throws -> Bool {
        guard let entry = volumes[id], await entry.actor.retire() else { return false }
        do {
            try await pool.remove(id.rawValue)
        } catch {
            await entry.actor.reinstate()
            throw error
        }
        volumes[id] = nil
        Instruments.evictions.add()
        environment.logger.info("evicted a clean local copy", metadata: ["volume": "\(id)", "pool": "\(pool.name)"])
        return true
    }

    /// Lets clean local copies that nobody uses go, least recently used first, while what is written lacks room.
    ///
    /// - Returns: what the pool is short of all the same.
    func relieve(_ pool: any VolumePool) async throws -> PerSSDError? {
        var shortage = try await pool.shortage()
        guard shortage != nil else { return nil }
        for (id, _) in await evictable(in: pool) where shortage != nil {
            do {
                guard try await evict(id, from: pool) else { continue }
            } catch {
                environment.logger.error("cannot evict a local copy: \(error)", metadata: ["volume": "\(id)"])
                continue
            }
            shortage = try await pool.shortage()
            environment.poolChanged()
        }
        guard shortage != nil else { return nil }
        // Once committed, they can go, at the next look.
        for (id, _) in await heldBack(in: pool) {
            try await volumes[id]?.actor.settle(inBackground: true, until: .now)
        }
        return shortage
    }
}

/// How full a volume is.
enum VolumeUsageReport: Sendable {
    case device(bytes: UInt64)
    case fileSystem(FileSystemStats)
}
