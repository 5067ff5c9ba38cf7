import Errors
import Foundation

extension Catalog {
    /// Makes a snapshot of a volume, or finds the one that an earlier try made.
    ///
    /// Where nobody has uncommitted writes it pins the newest generation, at once. Where a node has the volume open, the
    /// record says who is to deliver the generation (`delivery`), and is ready once `makeReady` was called. A delivery that
    /// can never come, because the lease was lost before the cut was made, is planned anew by the next call.
    ///
    /// - Throws: `alreadyExists` where the name is taken by a snapshot of another volume; `notFound` where there is no such
    ///   volume; `failedPrecondition` where the node that had made the cut lost its lease before it could commit it.
    public func createSnapshot(name: String, of volume: VolumeID) async throws -> SnapshotRecord {
        let id = SnapshotID(name: name)
        let key = try CatalogKey.snapshot(id)
        for _ in 0..<Self.patience {
            let existing = try await load(SnapshotRecord.self, at: key)
            var replaced: WriteCondition = .absent
            if let existing {
                if existing.value.deletedAt == nil, let standing = try await standing(existing.value, name, volume) {
                    return standing
                }
                replaced = .matches(existing.etag)
            }
            let listing = try await self.volume(volume)
            let record = plan(id, name: name, of: listing)
            do {
                _ = try await save(record, at: key, condition: replaced)
            } catch let error as PerSSDError where error.code == .conflict {
                try Task.checkCancellation()
                continue
            }
            guard let generation = record.generation else { return record }
            if try await secure(generation, lineage: record.lineage) != nil { return record }
            // It is not the newest any more. The next round replaces the record by one of what is.
            guard try await head(volume).value.newest != generation else {
                throw try await reasonMissing(generation, lineage: record.lineage)
            }
            try Task.checkCancellation()
        }
        throw PerSSDError(
            .aborted, "snapshot '\(name)' is being deleted and created at the same time", remedy: "try again")
    }

    /// What an earlier try left, where it is of use; nil where it is to be replaced.
    private func standing(
        _ record: SnapshotRecord, _ name: String, _ volume: VolumeID
    ) async throws -> SnapshotRecord? {
        guard record.name == name, record.volume == volume, record.group == nil else {
            throw PerSSDError(
                .alreadyExists, "a snapshot named '\(name)' exists already, of volume \(record.volume)",
                remedy: "choose another name")
        }
        if let generation = record.generation {
            // Whoever wrote it may have died before it looked.
            return try await secure(generation, lineage: record.lineage) == nil ? nil : record
        }
        guard let delivery = record.delivery else { return record }
        let head = try await load(Head.self, at: CatalogKey.head(volume))?.value
        if let head, record.isAwaited(in: head) {
            // Committed and closed without a cut for this snapshot: what is newest is the whole truth.
            return head.lease?.state == .open || delivery.cutAt != nil ? record : nil
        }
        return delivery.cutAt == nil ? nil : try await settled(record, in: head)
    }

    /// A snapshot whose cut was made, made ready where its generation is committed and only that was not said.
    ///
    /// - Throws: `failedPrecondition` where the node lost the volume before it could commit the cut.
    func settled(_ record: SnapshotRecord, in head: Head?) async throws -> SnapshotRecord {
        guard let delivery = record.delivery, let cutAt = delivery.cutAt else { return record }
        if let head, let generation = try await delivered(delivery, cutAt, in: head, for: record) {
            return try await makeReady(
                record.snapshot, generation, cutAt: cutAt, by: delivery.node, epoch: delivery.epoch)
        }
        if let head, record.isAwaited(in: head) { return record }
        throw Self.lost(record, delivery, cutAt, newest: head?.newest)
    }

    private static func lost(
        _ record: SnapshotRecord, _ delivery: SnapshotRecord.Delivery, _ cutAt: Date, newest: GenerationReference?
    ) -> PerSSDError {
        let newest = newest.map { "the newest generation of the volume is \($0.number)" }
        return PerSSDError(
            .failedPrecondition,
            "snapshot '\(record.name)' was cut on node \(delivery.node) at \(cutAt.formatted(.iso8601)), and the node lost the "
                + "volume before it said that this was committed: "
                + (newest ?? "nothing of the volume was ever committed"),
            remedy: "delete the snapshot, and make another one")
    }

    /// The generation of a cut whose node committed it and died before it said so.
    private func delivered(
        _ delivery: SnapshotRecord.Delivery, _ cutAt: Date, in head: Head, for record: SnapshotRecord
    ) async throws -> GenerationReference? {
        guard head.incarnation == record.incarnation else { return nil }
        var next = head.newest
        while let reference = next, reference.number > delivery.after,
            let generation = try await generationIfThere(reference)
        {
            let made = generation.provenance
            if generation.epoch == delivery.epoch, made.node == delivery.node, made.cutAt == cutAt { return reference }
            next = generation.parent
        }
        return nil
    }

    func plan(_ id: SnapshotID, name: String, of listing: VolumeListing) -> SnapshotRecord {
        let head = listing.head
        var record = SnapshotRecord(
            snapshot: id, name: name, volume: listing.record.volume, incarnation: listing.record.incarnation,
            lineage: listing.record.lineage, claim: listing.record.claim, capacityBytes: listing.record.capacityBytes,
            createdAt: time, generation: head.newest, delivery: nil)
        if let lease = head.lease, lease.state == .open {
            record.generation = nil
            record.delivery = SnapshotRecord.Delivery(
                node: lease.holder, epoch: head.epoch, after: head.newest?.number ?? 0)
        }
        return record
    }

    /// Notes when the node made the cut; what it holds is as of then.
    ///
    /// - Throws: `notFound` where there is no such snapshot any more; `failedPrecondition` where it waits for another node
    ///   or epoch.
    public func noteCut(
        of id: SnapshotID, at cutAt: Date, by node: NodeReference, epoch: UInt64
    ) async throws -> SnapshotRecord {
        try await updateSnapshot(id) { record in
            guard !record.isReady else { return record }
            var next = try Self.awaiting(record, node, epoch)
            next.delivery?.cutAt = cutAt
            next.createdAt = cutAt
            return next
        }
    }

    /// The generation that a snapshot waited for is committed.
    ///
    /// - Parameters:
    ///   - cutAt: when the node made the cut that the generation holds.
    /// - Throws: `notFound` where there is no such snapshot any more, or the generation has expired; `failedPrecondition`
    ///   where the snapshot waits for another node or epoch.
    public func makeReady(
        _ id: SnapshotID, _ generation: GenerationReference, cutAt: Date, by node: NodeReference, epoch: UInt64
    ) async throws -> SnapshotRecord {
        let contents = try await self.generation(generation)
        let record = try await updateSnapshot(id) { record in
            if record.generation == generation { return record }
            var next = try Self.awaiting(record, node, epoch)
            next.generation = generation
            next.delivery = nil
            next.createdAt = cutAt
            // The volume may have been expanded between the request and the cut.
            next.capacityBytes = max(next.capacityBytes, contents.map.capacityBytes)
            return next
        }
        guard try await secure(generation, lineage: record.lineage) != nil else {
            throw try await reasonMissing(generation, lineage: record.lineage)
        }
        return record
    }

    private static func awaiting(
        _ record: SnapshotRecord, _ node: NodeReference, _ epoch: UInt64
    ) throws -> SnapshotRecord {
        guard let delivery = record.delivery, delivery.node == node, delivery.epoch == epoch else {
            throw PerSSDError(
                .failedPrecondition,
                "snapshot '\(record.name)' waits for "
                    + (record.delivery.map { "node \($0.node) at epoch \($0.epoch)" } ?? "nobody")
                    + ", and not for node \(node) at epoch \(epoch)")
        }
        return record
    }

    /// Deletes a snapshot; fine where there is none, and where its volume is gone.
    ///
    /// - Throws: `invalidArgument` where it is a member of a group, which goes as a whole.
    public func deleteSnapshot(_ id: SnapshotID) async throws {
        do {
            if let group = try await snapshot(id).group {
                throw PerSSDError(
                    .invalidArgument, "snapshot \(id) is a member of group snapshot \(group), and goes only with it",
                    remedy: "delete the group snapshot")
            }
            _ = try await updateSnapshot(id) { [time] record in
                var tombstone = record
                tombstone.deletedAt = time
                return tombstone
            }
        } catch let error as PerSSDError where error.code == .notFound {}
    }

    /// - Throws: `notFound` where there is no such snapshot.
    public func snapshot(_ id: SnapshotID) async throws -> SnapshotRecord {
        let record = try await currentSnapshot(id).value
        guard try await !visible([record]).isEmpty else { throw Self.noSnapshot(id) }
        return record
    }

    /// Snapshots in the order of their ids, those that are not ready among them.
    ///
    /// - Parameters:
    ///   - volume: of this volume only, in any of its lives.
    ///   - after: the last id of the page before.
    public func snapshots(of volume: VolumeID? = nil, after: SnapshotID?, limit: Int) async throws -> [SnapshotRecord] {
        var found: [SnapshotRecord] = []
        var last = try after.map { try CatalogKey.snapshot($0) }
        while found.count < limit {
            let page = try await store.list(prefix: CatalogKey.snapshots, after: last, limit: min(limit, 1000))
            guard let end = page.last else { break }
            let records: [SnapshotRecord] = try await inOrder(page) { object in
                let record = try await load(SnapshotRecord.self, at: object.key)?.value
                guard let record, record.deletedAt == nil, volume == nil || record.volume == volume else { return nil }
                return record
            }
            found += try await visible(records)
            last = end.key
        }
        return Array(found.prefix(limit))
    }

    func currentSnapshot(_ id: SnapshotID) async throws -> Versioned<SnapshotRecord> {
        let record = try await load(SnapshotRecord.self, at: CatalogKey.snapshot(id))
        guard let record, record.value.deletedAt == nil else {
            throw Self.noSnapshot(id)
        }
        return record
    }

    private static func noSnapshot(_ id: SnapshotID) -> PerSSDError {
        PerSSDError(.notFound, "there is no snapshot \(id)")
    }

    private func updateSnapshot(
        _ id: SnapshotID, _ step: (SnapshotRecord) throws -> SnapshotRecord
    ) async throws -> SnapshotRecord {
        while true {
            let current = try await currentSnapshot(id)
            let next = try step(current.value)
            if next == current.value { return next }
            do {
                _ = try await save(next, at: CatalogKey.snapshot(id), condition: .matches(current.etag))
                return next
            } catch let error as PerSSDError where error.code == .conflict {
                try Task.checkCancellation()
            }
        }
    }

    static func notReady(_ snapshot: SnapshotRecord) -> PerSSDError {
        PerSSDError(
            .failedPrecondition,
            "snapshot '\(snapshot.name)' is not ready: "
                + (snapshot.delivery.map { "node \($0.node) has not yet committed it" } ?? "nobody is to deliver it"),
            remedy: "try again when it is")
    }
}

extension SnapshotRecord {
    /// Whether the node that is to deliver the generation still holds the volume under the lease that it is asked by.
    fileprivate func isAwaited(in head: Head) -> Bool {
        guard let delivery else { return false }
        return head.deletedAt == nil && head.incarnation == incarnation && head.epoch == delivery.epoch
            && head.lease?.holder == delivery.node
    }
}
