import Digests
import Errors
import Foundation

/// What a CreateVolume asks for.
public struct NewVolume: Sendable {
    public var name: String
    /// Bounds of the capacity; 0 for none. What is made is `VolumeSize.choose`'s answer.
    public var requiredBytes: Int64
    public var limitBytes: Int64
    public var parameters: VolumeParameters
    public var claim: VolumeRecord.Claim?
    /// What it begins as; nil for empty. The clone gets its source's block size, whatever the parameters say.
    public var source: CloneSource?
    /// Of a volume as the source: which of its generations; nil for the newest.
    public var generation: GenerationReference?

    public init(
        name: String, requiredBytes: Int64, limitBytes: Int64, parameters: VolumeParameters, claim: VolumeRecord.Claim?,
        source: CloneSource? = nil
    ) {
        self.name = name
        self.requiredBytes = requiredBytes
        self.limitBytes = limitBytes
        self.parameters = parameters
        self.claim = claim
        self.source = source
    }
}

/// A volume as listings show it.
public struct VolumeListing: Sendable {
    public var record: VolumeRecord
    public var head: Head
}

extension Catalog {
    /// Makes a volume, or finds the one that an earlier try made. Where it is to be a clone, no data moves: its head begins
    /// at the source's generation.
    ///
    /// - Throws: `alreadyExists` where the name is taken by a volume of another size, source or with other parameters;
    ///   of a clone `notFound` where there is no such source, or no more; `failedPrecondition` where the source has no
    ///   generation yet; `outOfRange` where the clone would be smaller.
    public func createVolume(_ new: NewVolume) async throws -> VolumeRecord {
        let id = VolumeID(name: new.name)
        for _ in 0..<Self.patience {
            let over = try await endedIncarnation(of: id)
            let standing = try await standing(new, over: over)
            try requireSame(standing, new)
            _ = try await establish(
                Head(volume: id, incarnation: standing.incarnation, origin: standing.origin?.generation))
            // Only what both objects say now counts: a deletion may have come between.
            let listing: VolumeListing
            do {
                listing = try await volume(id)
            } catch let error as PerSSDError where error.code == .notFound {
                try Task.checkCancellation()
                continue
            }
            if try await secureOrigin(of: listing) { return listing.record }
            try Task.checkCancellation()
        }
        throw PerSSDError(
            .aborted, "volume '\(new.name)' is being deleted and created at the same time", remedy: "try again")
    }

    /// The record of the volume to create: the one that an earlier try made, or a new one.
    ///
    /// - Parameter over: the incarnation that the head says is over.
    private func standing(_ new: NewVolume, over: Incarnation?) async throws -> VolumeRecord {
        let id = VolumeID(name: new.name)
        func isOver(_ record: VolumeRecord) -> Bool { record.deletedAt != nil || record.incarnation == over }
        // Another incarnation for each try: the one before may have been deleted.
        var record = VolumeRecord(
            volume: id, incarnation: Incarnation(), lineage: randomBytes(16).hex, name: new.name, capacityBytes: 0,
            parameters: new.parameters, claim: new.claim, createdAt: time)
        if let source = new.source {
            // What an earlier try made needs its source no more, which may have gone since.
            let existing = try await load(VolumeRecord.self, at: CatalogKey.volume(id))?.value
            if let existing, !isOver(existing) { return existing }
            let resolved = try await resolve(source, at: new.generation)
            record.capacityBytes = try cloneCapacity(new, of: resolved)
            record.origin = resolved.origin
            if let inherited = resolved.inherited {
                record.lineage = inherited.lineage
                record.parameters.blockSize = inherited.blockSize
            }
        } else {
            record.capacityBytes = try VolumeSize.choose(required: new.requiredBytes, limit: new.limitBytes)
        }
        return try await establish(record, at: CatalogKey.volume(id), replacing: isOver).value
    }

    /// The volume's record.
    ///
    /// - Throws: `notFound` where there is no such volume, or it is deleted, or not yet made whole.
    public func volume(_ id: VolumeID) async throws -> VolumeListing {
        async let record = load(VolumeRecord.self, at: CatalogKey.volume(id))
        async let head = load(Head.self, at: CatalogKey.head(id))
        guard let record = try await record?.value, let head = try await head?.value, record.deletedAt == nil,
            head.deletedAt == nil, record.incarnation == head.incarnation
        else { throw Self.noVolume(id) }
        return VolumeListing(record: record, head: head)
    }

    /// The head with its version.
    ///
    /// - Throws: `notFound`, as `volume(_:)`.
    public func head(_ id: VolumeID) async throws -> Versioned<Head> {
        guard let head = try await load(Head.self, at: CatalogKey.head(id)), head.value.deletedAt == nil else {
            throw Self.noVolume(id)
        }
        return head
    }

    /// Takes a head one step further by compare-and-swap.
    ///
    /// - Parameters:
    ///   - incarnation: the volume's life that the caller means; another one is `notFound`. nil for whichever it is.
    ///   - known: the head as last seen, to save reading it; where it is out of date it is read.
    ///   - step: pure; may run several times. A head that it does not change is not written.
    /// - Returns: the head that stands.
    public func updateHead(
        _ id: VolumeID, incarnation: Incarnation? = nil, known: Versioned<Head>? = nil,
        _ step: (Head) throws -> Head
    ) async throws -> Versioned<Head> {
        var known = known
        while true {
            let current: Versioned<Head>
            let isFresh = known == nil
            if let known { current = known } else { current = try await head(id) }
            guard incarnation == nil || current.value.incarnation == incarnation else {
                if isFresh { throw Self.noVolume(id) }
                known = nil
                continue
            }
            let next: Head
            do {
                next = try step(current.value)
            } catch  where !isFresh {
                // A refusal that rests on an old head may be wrong.
                known = nil
                continue
            }
            if next == current.value {
                if isFresh { return current }
                known = nil
                continue
            }
            do {
                let etag = try await save(next, at: CatalogKey.head(id), condition: .matches(current.etag))
                return Versioned(next, etag)
            } catch let error as PerSSDError where error.code == .conflict {
                known = nil
                try Task.checkCancellation()
            }
        }
    }

    /// Deletes a volume; fine where there is none. Its generations and packs, which snapshots and clones may need, are left
    /// to the collection of garbage.
    ///
    /// The head says that it is deleted before the record does, so a deletion that dies half-way is finished by the next
    /// try, or by the next volume of the name.
    /// - Returns: the node that keeps work back that nobody needs any more; it finds that out by itself, and sooner where it is told.
    /// - Throws: `failedPrecondition` while a node holds it, or reads it.
    @discardableResult
    public func deleteVolume(_ id: VolumeID) async throws -> NodeReference? {
        guard let head = try await headToDelete(id) else { return nil }
        var holder: NodeReference?
        let incarnation = head.value.incarnation
        if head.value.deletedAt == nil {
            let readers = try await readers(of: id).filter { $0.incarnation == incarnation }
            if let reader = try await living(readers, at: time).living.first {
                throw PerSSDError(
                    .failedPrecondition, "volume \(id) is in use: node \(reader.node) reads \(reader.generation)",
                    remedy: "unpublish it first")
            }
            let deletedAt = time
            do {
                // Of this incarnation only: the next one is another volume, which nobody asked to delete.
                _ = try await updateHead(id, incarnation: incarnation, known: head) {
                    let next = try $0.deleting(now: deletedAt)
                    holder = $0.lease?.holder
                    return next
                }
            } catch let error as PerSSDError where error.code == .notFound {
                // Another process deleted it meanwhile.
            }
        }
        try await buryRecord(of: id, incarnation)
        return holder
    }

    /// Volumes in the order of their ids.
    ///
    /// - Parameter after: the last id of the page before.
    public func volumes(after: VolumeID?, limit: Int) async throws -> [VolumeListing] {
        var found: [VolumeListing] = []
        var last = after?.rawValue
        while found.count < limit {
            let wanted = min(limit - found.count, 100)
            let folders = try await store.listFolders(in: CatalogKey.volumes, after: last, limit: wanted)
            guard let end = folders.last else { break }
            // Those that are not there any more are deleted: what is left is their tombstones.
            found += try await inOrder(folders.compactMap { VolumeID($0) }) { id in
                do {
                    return try await volume(id)
                } catch let error as PerSSDError where error.code == .notFound {
                    return nil
                }
            }
            last = end
        }
        return found
    }

    /// The head of a volume to delete. Where a creation died before it made the head, a deleted one is made, so that a
    /// record is never buried before the head says that its incarnation is over.
    private func headToDelete(_ id: VolumeID) async throws -> Versioned<Head>? {
        while true {
            let head = try await load(Head.self, at: CatalogKey.head(id))
            if let head, head.value.deletedAt == nil { return head }
            guard let record = try await load(VolumeRecord.self, at: CatalogKey.volume(id)),
                record.value.deletedAt == nil
            else { return head }
            var tombstone = Head(volume: id, incarnation: record.value.incarnation)
            tombstone.deletedAt = time
            if let established = try await establish(tombstone) { return established }
            try Task.checkCancellation()
        }
    }

    /// Makes the first head of an incarnation, in place of the deleted one of a former life.
    ///
    /// The record is looked at after the head that is to be replaced: while it still is this incarnation's and the head
    /// is unchanged, the incarnation cannot be over, so that none ever gets a second head.
    /// - Returns: the head that stands, or nil where the incarnation is over.
    private func establish(_ head: Head) async throws -> Versioned<Head>? {
        let key = try CatalogKey.head(head.volume)
        while true {
            let existing = try await load(Head.self, at: key)
            if let existing, existing.value.deletedAt == nil || existing.value.incarnation == head.incarnation {
                return existing
            }
            let record = try await load(VolumeRecord.self, at: CatalogKey.volume(head.volume))?.value
            guard let record, record.incarnation == head.incarnation, record.deletedAt == nil else { return nil }
            do {
                let condition: WriteCondition = existing.map { .matches($0.etag) } ?? .absent
                return Versioned(head, try await save(head, at: key, condition: condition))
            } catch let error as PerSSDError where error.code == .conflict {
                try Task.checkCancellation()
            }
        }
    }

    private func endedIncarnation(of id: VolumeID) async throws -> Incarnation? {
        guard let head = try await load(Head.self, at: CatalogKey.head(id)), head.value.deletedAt != nil else {
            return nil
        }
        return head.value.incarnation
    }

    func buryRecord(of id: VolumeID, _ incarnation: Incarnation) async throws {
        let key = try CatalogKey.volume(id)
        while let record = try await load(VolumeRecord.self, at: key), record.value.deletedAt == nil,
            record.value.incarnation == incarnation
        {
            var tombstone = record.value
            tombstone.deletedAt = time
            do {
                _ = try await save(tombstone, at: key, condition: .matches(record.etag))
                return
            } catch let error as PerSSDError where error.code == .conflict {
                try Task.checkCancellation()
            }
        }
    }

    private func requireSame(_ record: VolumeRecord, _ new: NewVolume) throws {
        func differs(_ what: String) -> PerSSDError {
            PerSSDError(
                .alreadyExists, "a volume named '\(new.name)' exists already with \(what)",
                remedy: "ask for the same, or choose another name")
        }
        guard record.name == new.name else { throw differs("another name, '\(record.name)', and the same id") }
        let capacity = Int64(clamping: record.capacityBytes)
        guard capacity >= new.requiredBytes, new.limitBytes == 0 || capacity <= new.limitBytes else {
            throw differs("a capacity of \(record.capacityBytes) bytes")
        }
        let isSameOrigin =
            record.origin?.source == new.source
            && (new.generation == nil || new.generation == record.origin?.generation)
        guard isSameOrigin else {
            throw differs(
                record.origin.map { origin in
                    "the contents of \(origin.source)" + (origin.generation.map { ", generation \($0.number)" } ?? "")
                } ?? "no source")
        }
        var parameters = new.parameters
        if record.origin != nil { parameters.blockSize = record.parameters.blockSize }
        guard record.wasMade(with: parameters) else { throw differs("other parameters") }
    }

    static func noVolume(_ id: VolumeID) -> PerSSDError {
        PerSSDError(.notFound, "there is no volume \(id)")
    }
}
