import Errors

/// What makes a pin hold: see `CollectionRecord`.
extension Catalog {
    /// Makes sure, after a pin of a generation was written, that the generation is there and stays.
    ///
    /// - Returns: the generation's record.
    /// - Throws: `notFound` where the generation has expired, or its removal has begun: the pin is worth nothing then,
    ///   and has to be undone. That never changes again. `corrupt` where the record is missing or damaged all the same.
    @discardableResult
    func secure(_ reference: GenerationReference, lineage: String) async throws -> GenerationRecord {
        let key = try CatalogKey.collection(lineage: lineage)
        while let current = try await load(CollectionRecord.self, at: key) {
            guard current.value.generations.contains(reference) else { break }
            guard current.value.phase == .condemned else { throw Self.expired(reference) }
            var rescued = current.value
            rescued.generations.removeAll { $0 == reference }
            if try await replace(current, by: rescued) { break }
        }
        // Only now: what was removed before the pin was written is named nowhere any more.
        return try await generation(reference, lineage: lineage)
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
        let collection = try await load(CollectionRecord.self, at: CatalogKey.collection(lineage: lineage))
        if let collection, collection.value.hasExpired(reference) { throw Self.expired(reference) }
        throw missing(reference)
    }

    static func expired(_ reference: GenerationReference) -> PerSSDError {
        PerSSDError(
            .notFound, "\(reference) has expired: no snapshot, pin or retention kept it",
            remedy: "'perssd log' lists the generations that there are")
    }
}
