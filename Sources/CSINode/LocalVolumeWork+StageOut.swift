import Errors
import Foundation
import LocalVolumes
import Metering
import Persistence

extension LocalVolumeWork {
    func stageOut(
        progress: WorkProgress, cutMade: @Sendable (_ isIndependent: Bool) async -> Void,
        isClosing: @Sendable () async -> Bool
    ) async throws {
        let made = memory.withLock { memory in
            defer { memory.cut = nil }
            return memory.cut
        }
        // Whatever becomes of them, they are asked for anew from here on.
        defer { forgetSnapshots() }
        let start = ContinuousClock.now
        var kind = made?.kind ?? .unpublish
        do {
            guard let record = copy, record.state == .dirty else {
                await cutMade(false)
                return try await closeHead(isClosing: isClosing)
            }
            guard let head = try await ownHead(record, besides: made) else {
                await cutMade(false)
                kind = .branch
                return try await keepLostWork(record, progress: progress, isClosing: isClosing)
            }
            let cut: MadeCut
            if let made {
                cut = made
                await cutMade(made.cut.isIndependent)
            } else {
                let own = try await makeCut(for: kind)
                kind = own.kind
                await cutMade(own.cut.isIndependent)
                cut = try await note(own)
            }
            let isNew = try await stageOut(cut, of: record, head: head, progress: progress, isClosing: isClosing)
            Instruments.stageOutDuration.observe(.now - start, kind, isNew ? .committed : .unchanged)
        } catch {
            Instruments.stageOutDuration.observe(.now - start, kind, .failed)
            // The next try asks anew whether the lease is still held: this one may have failed because it is not.
            memory.withLock { $0.head = nil }
            throw PerSSDError(wrapping: error, during: "cannot stage out volume \(volume)")
        }
    }

    /// The head, where what the copy holds may be committed; nil where the lease is lost or the volume deleted. Where there
    /// is none, the cut that was made is let go.
    private func ownHead(_ record: CopyRecord, besides made: MadeCut?) async throws -> Versioned<Head>? {
        do {
            if let head = try await ownHead(record) { return head }
        } catch {
            if let made { try? await pool.discard(made.cut) }
            throw error
        }
        if let made { try await pool.discard(made.cut) }
        return nil
    }

    private func ownHead(_ record: CopyRecord) async throws -> Versioned<Head>? {
        if let known = memory.withLock({ $0.head }), isOwn(record, known.value) { return known }
        do {
            let head = try await environment.catalog.head(volume)
            memory.withLock { $0.head = head }
            return isOwn(record, head.value) ? head : nil
        } catch let error as PerSSDError where error.code == .notFound {
            return nil
        }
    }

    /// - Returns: whether there is a new generation.
    private func stageOut(
        _ made: MadeCut, of record: CopyRecord, head: Versioned<Head>, progress: WorkProgress,
        isClosing: @Sendable () async -> Bool
    ) async throws -> Bool {
        let (pool, cut) = (try self.pool, made.cut)
        do {
            let parent = try await self.record(of: head.value.newest)
            let staged = try await send(
                cut, for: made.kind, unsavedBytes: made.unsavedBytes, parent: parent, record: record, progress: progress
            )
            progress.enter("committing")
            let committed = try await commit(
                staged, of: record, parent: parent, head: head, made: made, isClosing: isClosing)
            await updateUses { $0.committed(made.uses, at: made.at, closed: committed.isClosed) }
            try await pool.keep(cut, asBaseFor: committed.generation?.number ?? 0)
            try await update { [now = environment.now] in
                $0.generation = committed.generation?.number ?? 0
                $0.state = committed.isClosed ? .clean : .dirty
                $0.lastUsed = now
            }
            environment.poolChanged()
            memory.withLock {
                $0.unsaved.committed(made.mark, wasAttached: made.wasAttached)
                $0.awaitedUntil = nil
            }
            if let generation = committed.generation { await makeReady(made.snapshots, generation, cutAt: made.at) }
            return committed.generation != head.value.newest
        } catch {
            try? await pool.discard(cut)
            throw error
        }
    }

    /// Makes what was sent the newest generation, where it differs from the one before, and closes the head where
    /// nothing is published.
    private func commit(
        _ staged: StagedOut, of record: CopyRecord, parent: GenerationRecord?, head: Versioned<Head>, made: MadeCut,
        isClosing: @Sendable () async -> Bool
    ) async throws -> (generation: GenerationReference?, isClosed: Bool) {
        let catalog = environment.catalog
        let node = environment.node
        var next: (reference: GenerationReference, record: GenerationRecord)?
        if staged.map != parent?.map {
            guard let incarnation = Incarnation(record.incarnation) else {
                throw PerSSDError(.corrupt, "the record of the local copy of volume \(volume) has no incarnation")
            }
            let generation = GenerationRecord(
                volume: volume, incarnation: incarnation, lineage: record.lineage,
                number: (head.value.newest?.number ?? 0) + 1, parent: head.value.newest, epoch: record.epoch,
                map: staged.map,
                provenance: staged.provenance(
                    node: node, cutAt: made.at, stagedOutAt: catalog.time, uses: made.uses))
            next = (try await catalog.write(generation, wrote: staged.packs), generation)
        }
        let closes = await isClosing()
        let time = catalog.time
        let stands = try await catalog.updateHead(volume, known: head) { head in
            if let next {
                return try head.committing(
                    next.reference, by: node, epoch: record.epoch, closing: closes, now: time)
            }
            return closes ? try head.closing(by: node, epoch: record.epoch, now: time) : head
        }
        memory.withLock {
            $0.head = stands
            if let next { $0.newest = next.record }
        }
        return (next?.reference ?? head.value.newest, closes)
    }

    /// Nothing is written here, but the head may still say that this node has the volume open.
    private func closeHead(isClosing: @Sendable () async -> Bool) async throws {
        guard await isClosing() else { return }
        do {
            let node = environment.node
            let time = environment.catalog.time
            let head = try await environment.catalog.updateHead(volume) { head in
                guard head.lease?.holder == node, head.lease?.state == .open else { return head }
                return try head.closing(by: node, epoch: head.epoch, now: time)
            }
            memory.withLock { $0.head = head }
        } catch let error as PerSSDError where error.code == .notFound {
            // The volume is deleted.
        }
    }

    private func keepLostWork(
        _ record: CopyRecord, progress: WorkProgress, isClosing: @Sendable () async -> Bool
    ) async throws {
        guard await isClosing() else {
            throw PerSSDError(.failedPrecondition, "node \(environment.node) lost the lease of volume \(volume)")
        }
        let listing: VolumeListing
        do {
            listing = try await environment.catalog.volume(volume)
        } catch let error as PerSSDError where error.code == .notFound {
            try await environment.home.requireSame(environment.catalog.store)
            environment.logger.warning(
                "the volume was deleted after its lease had been revoked: its local copy goes",
                metadata: ["volume": "\(volume)"])
            return try await removeCopy()
        }
        guard listing.record.incarnation.rawValue == record.incarnation else { return try await removeCopy() }
        try await keepAsBranch(record, listing, progress: progress)
    }

    /// Stages out what a fenced node had written, under its own name, and lets the local copy go.
    func keepAsBranch(_ record: CopyRecord, _ listing: VolumeListing, progress: WorkProgress) async throws {
        progress.enter("keeping uncommitted work as a branch")
        let start = ContinuousClock.now
        let pool = try self.pool
        let uses = await uses()
        let cut = try await pool.cut(volume.rawValue)
        let cutAt = environment.catalog.time
        do {
            let base = try await generation(heldBy: record, in: listing.head)
            let staged = try await send(
                cut, for: .branch, unsavedBytes: nil, parent: base, record: record, progress: progress)
            let branch = GenerationRecord(
                volume: volume, incarnation: listing.record.incarnation, lineage: record.lineage,
                number: record.generation + 1, parent: nil, epoch: record.epoch, map: staged.map,
                provenance: staged.provenance(
                    node: environment.node, cutAt: cutAt, stagedOutAt: environment.catalog.time, uses: uses))
            try await environment.catalog.writeBranch(branch, wrote: staged.packs, base: base)
            Instruments.stageOutDuration.observe(.now - start, .branch, .committed)
            Instruments.branches.add()
        } catch {
            try? await pool.discard(cut)
            throw error
        }
        environment.logger.warning(
            "the lease was lost before all was committed: the work is kept as a branch",
            metadata: ["volume": "\(volume)", "epoch": "\(record.epoch)", "generation": "\(record.generation)"])
        try await pool.discard(cut)
        try await removeCopy()
    }
}
