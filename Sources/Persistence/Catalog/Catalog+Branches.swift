import Errors

extension Catalog {
    /// Keeps what a fenced node had written since generation `record.number - 1`, under the epoch that it lost.
    ///
    /// Nothing refers to a branch but its place, so a second try simply replaces the first.
    /// - Parameters:
    ///   - packs: those that the stage-out wrote for it.
    ///   - base: the generation that it was staged out against, nil for none. Nothing has kept that since the lease was lost.
    /// - Throws: `aborted` where some of it has been collected: it has to be staged out again, without the base where that
    ///   has expired.
    public func writeBranch(
        _ record: GenerationRecord, wrote packs: [PackID], base: GenerationRecord?
    ) async throws {
        let key = try CatalogKey.branch(record.volume, record.incarnation, epoch: record.epoch)
        _ = try await store.write(key, try record.encoded(), condition: .none)
        guard try await secure(packs, lineage: record.lineage) else {
            throw Self.collected("the branch of epoch \(record.epoch) of volume \(record.volume)")
        }
        guard let base else { return }
        // Packs are condemned after the records that reach them have gone; so what it shares with the base is there.
        let standing = try await load(
            GenerationRecord.self, at: CatalogKey.generation(base.volume, base.incarnation, base.number))
        guard standing?.value == base else {
            throw Self.collected(
                "the branch of epoch \(record.epoch) of volume \(record.volume), whose base has expired")
        }
    }

    /// The branches of a volume's present incarnation, by ascending epoch.
    public func branches(of volume: VolumeID, _ incarnation: Incarnation) async throws -> [GenerationRecord] {
        let folder = CatalogKey.branches(volume, incarnation)
        let found = try await inOrder(try await store.list(prefix: folder, after: nil, limit: 1000)) {
            try await load(GenerationRecord.self, at: $0.key)?.value
        }
        return found.sorted { $0.epoch < $1.epoch }
    }

    /// Makes a branch the first generation that a clone has of its own, as a writer of the clone would.
    ///
    /// Called again, it finishes what an earlier call left undone, and does nothing where that is all done.
    /// - Parameter clone: of the branch's volume, with nothing written to it yet.
    /// - Throws: `failedPrecondition` where the clone has been written, or is being written, by somebody else; `notFound`
    ///   where the branch has gone with its volume.
    @discardableResult
    public func commit(branch: GenerationRecord, to clone: VolumeRecord) async throws -> GenerationReference {
        guard clone.lineage == branch.lineage, clone.capacityBytes >= branch.map.capacityBytes else {
            throw PerSSDError(
                .failedPrecondition,
                "volume \(clone.title) is of another kind or size than what the branch of epoch \(branch.epoch) of volume "
                    + "\(branch.volume) was made of",
                remedy: "make a clone with another name")
        }
        if let done = try await committed(branch, to: clone) { return done }
        let writer = try NodeReference(cluster: "branches", node: "\(branch.volume).\(branch.epoch)")
        let head = try await updateHead(clone.volume, incarnation: clone.incarnation) { [time] head in
            try head.opening(by: writer, expectedEpoch: nil, now: time)
        }.value
        let record = GenerationRecord(
            volume: clone.volume, incarnation: clone.incarnation, lineage: clone.lineage,
            number: (head.newest?.number ?? 0) + 1, parent: head.newest, epoch: head.epoch, map: branch.map,
            provenance: branch.provenance)
        let reference = try await write(record, wrote: [])
        // From here on the new record keeps what it reaches, and until now the branch's has: so all of it is there.
        let key = try CatalogKey.branch(branch.volume, branch.incarnation, epoch: branch.epoch)
        guard try await load(GenerationRecord.self, at: key)?.value == branch else {
            throw PerSSDError(
                .notFound, "the branch of epoch \(branch.epoch) of volume \(branch.volume) has gone meanwhile")
        }
        _ = try await updateHead(clone.volume, incarnation: clone.incarnation) { [time] head in
            try head.committing(reference, by: writer, epoch: record.epoch, closing: true, now: time)
        }
        return reference
    }

    /// The clone's own first generation, where it is the branch.
    ///
    /// - Throws: `failedPrecondition` where it is something else.
    private func committed(
        _ branch: GenerationRecord, to clone: VolumeRecord
    ) async throws -> GenerationReference? {
        let head = try await head(clone.volume).value
        guard head.incarnation == clone.incarnation, let newest = head.newest, newest.volume == clone.volume else {
            return nil
        }
        let first = (clone.origin?.generation?.number ?? 0) + 1
        if newest.number == first, try await generation(newest).map == branch.map { return newest }
        throw PerSSDError(
            .failedPrecondition,
            "volume \(clone.title) has been written already, and stands at generation \(newest.number)",
            remedy: "make a clone with another name")
    }
}
