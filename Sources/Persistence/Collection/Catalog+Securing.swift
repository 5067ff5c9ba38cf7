import Errors

/// What makes a pin hold: see `CollectionRecord`.
extension Catalog {
    /// Makes sure, after a pin of a generation was written, that the generation is there and stays.
    ///
    /// - Returns: the generation's record; nil where it is not there any more, or its removal has begun. Then the pin is
    ///   worth nothing, which never changes again, and has to be undone: `reasonMissing` says why.
    @discardableResult
    func secure(_ reference: GenerationReference, lineage: String) async throws -> GenerationRecord? {
        let key = try CatalogKey.collection(lineage: lineage)
        while let current = try await load(CollectionRecord.self, at: key) {
            guard current.value.generations.contains(reference) else { break }
            guard current.value.phase == .condemned else { return nil }
            var rescued = current.value
            rescued.generations.removeAll { $0 == reference }
            if try await replace(current, by: rescued) { break }
        }
        // Only now: what was removed before the pin was written is named nowhere any more.
        return try await generationIfThere(reference)
    }

    /// The same for the packs that a stage-out wrote, after the record of its generation was written, which pins them.
    ///
    /// - Returns: false where one of them is not there any more, or its removal has begun: all has to be staged out again.
    func secure(_ packs: [PackID], lineage: String) async throws -> Bool {
        guard !packs.isEmpty else { return true }
        let own = Set(packs)
        let key = try CatalogKey.collection(lineage: lineage)
        var removals: UInt64 = 0
        while let current = try await load(CollectionRecord.self, at: key) {
            removals = current.value.removals
            guard current.value.packs.contains(where: own.contains) else { break }
            guard current.value.phase == .condemned else { return false }
            var rescued = current.value
            rescued.packs.removeAll(where: own.contains)
            if try await replace(current, by: rescued) { break }
        }
        // Where packs have been removed before, one of these may have been, should the stage-out have taken very long.
        guard removals > 0 else { return true }
        let there = try await inOrder(packs) { pack in try await store.info(pack.key(lineage: lineage)) }
        return there.count == packs.count
    }

    /// - Returns: false where the record has changed meanwhile.
    func replace(_ current: Versioned<CollectionRecord>, by next: CollectionRecord) async throws -> Bool {
        do {
            let key = try CatalogKey.collection(lineage: next.lineage)
            _ = try await save(next, at: key, condition: .matches(current.etag))
            return true
        } catch let error as PerSSDError where error.code == .conflict {
            try Task.checkCancellation()
            return false
        }
    }

    /// The record that a reference names.
    ///
    /// - Throws: `notFound` where it has expired; `corrupt` where it is missing without having expired, or is not the one
    ///   that was committed.
    public func generation(_ reference: GenerationReference, lineage: String) async throws -> GenerationRecord {
        if let record = try await generationIfThere(reference) { return record }
        throw try await reasonMissing(reference, lineage: lineage)
    }

    /// Whether a generation that is not there has expired, or is lost.
    func reasonMissing(_ reference: GenerationReference, lineage: String) async throws -> PerSSDError {
        let collection = try await load(CollectionRecord.self, at: CatalogKey.collection(lineage: lineage))
        if let collection {
            return collection.value.hasExpired(reference) ? Self.expired(reference) : missing(reference)
        }
        // Of a lineage that has gone as a whole, nothing tells of it any more.
        let rest = try await store.list(prefix: "\(CatalogKey.lineages)\(lineage)/", after: nil, limit: 1)
        return rest.isEmpty ? Self.expired(reference) : missing(reference)
    }

    static func expired(_ reference: GenerationReference) -> PerSSDError {
        PerSSDError(
            .notFound, "\(reference) has expired: no snapshot, pin or retention kept it",
            remedy: "'perssd log' lists the generations that there are")
    }
}
