import Digests
import Errors

extension Catalog {
    /// Puts a generation's record into the bucket, for a commit to name. What stands under its number uncommitted, from a
    /// try that died, is overwritten, unless a writer with a newer lease left it. What is committed never is.
    ///
    /// From then on the record keeps all that it reaches from being collected as garbage.
    /// - Parameter packs: those that the stage-out wrote for it.
    /// - Throws: `aborted` where one of the packs has been collected, because the stage-out took too long: it has to be done
    ///   again; `failedPrecondition` where a later epoch wrote a record of this number, or the head has another epoch
    ///   by now: the caller has been fenced; `conflict` where another record of this number is committed.
    public func write(_ record: GenerationRecord, wrote packs: [PackID]) async throws -> GenerationReference {
        let reference = try await write(record)
        guard try await secure(packs, lineage: record.lineage) else { throw Self.collected(reference) }
        return reference
    }

    static func collected(_ what: some CustomStringConvertible) -> PerSSDError {
        PerSSDError(
            .aborted,
            "what was staged out for \(what) has been collected as garbage, because it took so long to be committed",
            remedy: "it is staged out again; where that happens often, collect with a longer grace period")
    }

    private func write(_ record: GenerationRecord) async throws -> GenerationReference {
        let key = try CatalogKey.generation(record.volume, record.incarnation, record.number)
        let bytes = try record.encoded()
        let reference = GenerationReference(
            volume: record.volume, incarnation: record.incarnation, number: record.number,
            digest: SHA256.digest(bytes))
        var condition = WriteCondition.absent
        for _ in 0..<Self.patience {
            do {
                _ = try await store.write(key, bytes, condition: condition)
                return reference
            } catch let error as PerSSDError where error.code == .conflict {
                guard let object = try await store.read(key) else {
                    condition = .absent
                    continue
                }
                if object.bytes == bytes { return reference }
                let standing = try GenerationRecord(decoding: object.bytes, from: key)
                guard standing.epoch <= record.epoch else {
                    throw PerSSDError(
                        .failedPrecondition,
                        "generation \(record.number) of volume \(record.volume) has been written at epoch "
                            + "\(standing.epoch) by node \(standing.provenance.node), after this node's epoch "
                            + "\(record.epoch)",
                        remedy: "what this node wrote is kept on it as a branch")
                }
                try await requireUncommitted(record)
                condition = .matches(object.etag)
            }
        }
        throw PerSSDError(.aborted, "\(reference) is being written by several processes at once", remedy: "try again")
    }

    /// That a record may take the place of another one of its number.
    ///
    /// Asked after the standing record's version is known: while the head is still at the writer's epoch, nobody else
    /// can commit that version afterwards.
    private func requireUncommitted(_ record: GenerationRecord) async throws {
        let head = try await head(record.volume).value
        guard head.incarnation == record.incarnation else { throw Self.noVolume(record.volume) }
        guard head.epoch == record.epoch else {
            throw PerSSDError(
                .failedPrecondition,
                "volume \(record.volume) is at epoch \(head.epoch), after the epoch \(record.epoch) at which node "
                    + "\(record.provenance.node) writes generation \(record.number)",
                remedy: "what this node wrote is kept on it as a branch")
        }
        guard record.number > head.newest?.number ?? 0 else {
            throw PerSSDError(
                .conflict,
                "another generation \(record.number) of volume \(record.volume) is committed already: the newest is "
                    + "\(head.newest?.number ?? 0)")
        }
    }

    /// The record that a reference names.
    ///
    /// - Throws: `corrupt` where it is missing or is not the one that was committed. It may be missing because it has
    ///   expired, which the lineage tells: `generation(_:lineage:)`.
    public func generation(_ reference: GenerationReference) async throws -> GenerationRecord {
        guard let record = try await generationIfThere(reference) else { throw missing(reference) }
        return record
    }

    /// - Throws: `corrupt` where it is not the one that was committed.
    func generationIfThere(_ reference: GenerationReference) async throws -> GenerationRecord? {
        let key = try CatalogKey.generation(reference.volume, reference.incarnation, reference.number)
        guard let object = try await store.read(key) else { return nil }
        guard SHA256.digest(object.bytes) == reference.digest else {
            var what = ", and it is no record of a generation"
            if let found = try? GenerationRecord(decoding: object.bytes, from: key) {
                what = found.isAt(key) ? "" : ", and it is that of generation \(found.number) of \(found.volume)"
            }
            throw PerSSDError(
                .corrupt,
                "object \(key) is not the record of \(reference) that was committed: its SHA-256 differs"
                    + what,
                remedy: "bring the object back from a version or a backup of the bucket")
        }
        return try GenerationRecord(decoding: object.bytes, from: key)
    }

    func missing(_ reference: GenerationReference) -> PerSSDError {
        let folder = CatalogKey.generations(reference.volume, reference.incarnation)
        return PerSSDError(
            .corrupt,
            "the record of \(reference), object \(folder)\(reference.number).json, is missing from \(store.location)",
            remedy: "bring the object back from a version or a backup of the bucket")
    }
}
