import Errors
import Foundation
import LinuxSystem
import LocalVolumes
import Metering
import Persistence
import SystemPackage

extension LocalVolumeWork {
    func publish(
        _ request: PublishRequest, isFirst: Bool, progress: WorkProgress, opened: @Sendable () async -> Void
    ) async throws {
        let path = request.publication.path
        do {
            if request.publication.isShared {
                try await makeReadable(request, isFirst: isFirst, progress: progress)
            } else {
                try await makeCurrent(request, isFirst: isFirst, progress: progress, opened: opened)
            }
            if var use = request.use, copy?.state == .dirty {
                // Not while it was made current, which may have taken long.
                use.startedAt = environment.catalog.time
                await updateUses { [use] in $0.began(use, at: path) }
            }
            progress.enter("mounting")
            try await mount(request.publication, progress: progress)
            if isFirst {
                Instruments.publishes.add(1, memory.withLock { $0.source }.rawValue)
                await noteOpened()
            }
        } catch {
            await updateUses { $0.neverBegan(at: path) }
            // Nothing of a publish that failed stays mounted: the caller may never come back.
            if isFirst {
                try? await putAway()
                if request.publication.isShared { await endReading() }
            }
            throw PerSSDError(
                wrapping: error, during: "cannot publish volume \(volume) at \(request.publication.path)")
        }
    }

    /// Brings the local copy to the newest generation and, where it is to be written, opens the head.
    private func makeCurrent(
        _ request: PublishRequest, isFirst: Bool, progress: WorkProgress, opened: @Sendable () async -> Void
    ) async throws {
        var mayBeLost = isFirst
        while true {
            let listing = try await environment.catalog.volume(volume)
            remember(listing.record)
            if copy == nil {
                try environment.pools.requireNotMissing(listing.record.parameters.pool, for: volume.rawValue)
            }
            if mayBeLost, try await recordLossOfCopy(seen: listing.head) { continue }
            // What is missing from here on was taken away here.
            mayBeLost = false
            // Refused before anything is moved, where it would be refused afterwards.
            _ = try listing.head.opening(
                by: environment.node, expectedEpoch: request.epoch, now: environment.catalog.time)
            try await settleOldCopy(listing, isFirst: isFirst, progress: progress)
            if !isFirst { try requireNewest(listing) }
            // Written here under the lease that still holds: ahead of the bucket, whatever is newest there.
            let isAhead = copy?.state == .dirty
            try await bringCopy(
                to: listing.head.newest, of: listing, access: request.publication.access, progress: progress)
            if request.publication.isReadOnly, copy?.state != .dirty { return }

            await opened()
            let head = try await environment.catalog.updateHead(volume, incarnation: listing.record.incarnation) {
                try $0.opening(by: environment.node, expectedEpoch: request.epoch, now: environment.catalog.time)
            }
            memory.withLock { $0.head = head }
            // Where nobody had granted the lease, another node may have committed while this one restored.
            guard isAhead || head.value.newest == listing.head.newest else {
                if copy?.state == .dirty { try await removeCopy() }
                continue
            }
            memory.withLock { memory in
                if memory.lastCut == nil || isFirst { (memory.lastCut, memory.writtenAtCut) = (.now, nil) }
                if isFirst { memory.wasAhead = isAhead }
            }
            await updateUses { [now = environment.catalog.time] in $0.opened(at: now) }
            try await update { [now = environment.now] in
                $0.state = .dirty
                $0.epoch = head.value.epoch
                $0.lastUsed = now
            }
            // Where a pod has it already, growing is NodeExpandVolume's.
            if isFirst, let copy, copy.sizeBytes < listing.record.capacityBytes {
                try await growCopy(to: listing.record.capacityBytes, progress: progress)
            }
            return
        }
    }

    /// Deals with a local copy that is not this volume's present work: another incarnation's goes, and what was written
    /// under a lost lease becomes a branch.
    func settleOldCopy(_ listing: VolumeListing, isFirst: Bool, progress: WorkProgress) async throws {
        guard let record = copy else { return }
        let isWorthless = record.state == .restoring || isFirst && record.state == .recovered
        if record.incarnation != listing.record.incarnation.rawValue || isWorthless {
            try await removeCopy()
        } else if record.state == .dirty, !isOwn(record, listing.head) {
            try await keepAsBranch(record, listing, progress: progress)
        }
    }

    /// What a pod reads is never exchanged under it. A volume that was published read-only without a lease, because nobody
    /// attaches here, may have gone on elsewhere.
    private func requireNewest(_ listing: VolumeListing) throws {
        guard let copy, copy.state != .dirty, copy.generation != listing.head.newest?.number else { return }
        throw PerSSDError(
            .failedPrecondition,
            "volume \(volume) is published on this node read-only at generation \(copy.generation), and "
                + "\(listing.head.newest?.description ?? "an empty volume") is the newest",
            remedy: "unpublish it on this node first")
    }

    /// Whether what the copy holds may still be committed.
    func isOwn(_ record: CopyRecord, _ head: Head) -> Bool {
        head.lease?.holder == environment.node && head.epoch == record.epoch
            && head.incarnation.rawValue == record.incarnation
    }

    /// - Parameter wanted: a generation of the volume, or what it began at; nil for the empty volume.
    func bringCopy(
        to wanted: GenerationReference?, of listing: VolumeListing, access: Publication.Access, progress: WorkProgress
    ) async throws {
        memory.withLock { $0.source = .warm }
        if let record = copy {
            // Written under this lease: it is ahead of the bucket.
            if record.state == .dirty || record.generation == wanted?.number { return }
        }
        let target = try await self.record(of: wanted)
        // The generation may be of an expansion that came after the record was read.
        let size = max(listing.record.capacityBytes, target?.map.capacityBytes ?? 0)
        var have: MapRoot?
        var record: CopyRecord
        if var older = copy {
            have = older.state == .clean ? try await generation(heldBy: older, in: listing.head)?.map : nil
            if have != nil, older.sizeBytes < size {
                try await growCopy(to: size, progress: progress)
                older.sizeBytes = size
            }
            older.state = .restoring
            record = older
            if have == nil { try await removeCopy() }
        } else {
            record = newRecord(listing, size)
        }
        if copy == nil {
            record = newRecord(listing, size)
            let pool = try environment.pools.required(listing.record.parameters.pool, for: volume.rawValue)
            memory.withLock { $0.pool = pool }
            progress.enter("making room in pool \(pool.name)")
            try await environment.makeRoom(record.sizeBytes, pool)
            _ = try await pool.create(record)
            environment.poolChanged()
        }
        record.generation = wanted?.number ?? 0
        try await save(record)
        do {
            if let target {
                try await restore(target, have: have, progress: progress)
                memory.withLock { [isDelta = have != nil] in $0.source = isDelta ? .delta : .restored }
                record.state = .clean
            } else {
                memory.withLock { $0.source = .new }
                progress.enter("making a file system")
                try await format(access, listing.record)
                // What mkfs wrote is in no generation.
                record.state = .dirty
                record.epoch = listing.head.epoch
            }
            record.lastUsed = environment.now
            if record.state == .clean {
                try await pool.keepCopy(volume.rawValue, asBaseFor: record.generation)
                try await save(record)
            } else {
                memory.withLock { $0.copy = record }
            }
        } catch {
            // Half a restore is worth nothing, and its room is wanted.
            try? await detach()
            try? await removeCopy()
            throw error
        }
    }

    private func newRecord(_ listing: VolumeListing, _ size: UInt64) -> CopyRecord {
        CopyRecord(
            volume: volume.rawValue, incarnation: listing.record.incarnation.rawValue, lineage: listing.record.lineage,
            epoch: listing.head.epoch, generation: 0, state: .restoring, sizeBytes: size,
            lastUsed: environment.now)
    }

    func unpublish(path: String, isLast: Bool) async throws {
        do {
            try await environment.publisher.unpublish(device: memory.withLock { $0.device }, from: path)
            await updateUses { [now = environment.catalog.time] in $0.ended(at: path, now: now) }
            let wasRead = copy?.use == .reading
            if isLast { try await putAway() }
            if isLast, wasRead { await endReading() }
        } catch {
            throw PerSSDError(wrapping: error, during: "cannot unpublish volume \(volume) from \(path)")
        }
    }

    /// The volume's device, for as long as it is attached.
    func attach() async throws -> FilePath {
        let device = try await pool.attach(volume.rawValue)
        memory.withLock { $0.device = device }
        return device
    }

    /// Lets the volume's device go; fine where there is none.
    func detach() async throws {
        guard copy != nil else { return }
        try await pool.detach(volume.rawValue)
        memory.withLock { $0.device = nil }
    }

    /// Unmounts the file system and lets the device go: nothing writes the local copy after this.
    private func putAway() async throws {
        let publisher = environment.publisher
        if copy?.state == .dirty, try await publisher.stagedPath(of: volume.rawValue) != nil {
            await trim()
        }
        let kind = try await publisher.unstage(volume.rawValue)
        let sectors = await deviceSectors()
        memory.withLock { $0.unsaved.closed(at: sectors) }
        if kind == .btrfs, let device = memory.withLock({ $0.device }) {
            try await environment.fileSystems.forget(device)
        }
        if copy?.state == .recovered {
            // No generation any more, and nobody's work.
            try await removeCopy()
        } else {
            try await detach()
        }
        if copy?.use == .reading { try await update { $0.use = .volume } }
    }
}

extension NodeEnvironment {
    /// Seconds since 1970.
    var now: Int64 { Int64(catalog.time.timeIntervalSince1970) }
}
