import Errors

/// What a new volume begins as.
public enum CloneSource: Sendable, Hashable {
    case snapshot(SnapshotID)
    /// The newest generation of a volume.
    case volume(VolumeID)
}

extension CloneSource: Codable, CustomStringConvertible {
    private enum Keys: String, CodingKey { case snapshot, volume }

    public init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: Keys.self)
        if let snapshot = try fields.decodeIfPresent(SnapshotID.self, forKey: .snapshot) {
            self = .snapshot(snapshot)
        } else {
            self = .volume(try fields.decode(VolumeID.self, forKey: .volume))
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var fields = encoder.container(keyedBy: Keys.self)
        switch self {
        case .snapshot(let id): try fields.encode(id, forKey: .snapshot)
        case .volume(let id): try fields.encode(id, forKey: .volume)
        }
    }

    public var description: String {
        switch self {
        case .snapshot(let id): "snapshot \(id)"
        case .volume(let id): "volume \(id)"
        }
    }
}

extension Catalog {
    /// What a clone takes from its source.
    struct ResolvedSource {
        var origin: VolumeRecord.Origin
        var capacityBytes: UInt64
        /// What comes with the generation; nil where there is none, and the clone begins empty, with its own.
        var inherited: (lineage: String, blockSize: Int)?

        init(empty source: CloneSource, capacityBytes: UInt64) {
            origin = VolumeRecord.Origin(source: source, generation: nil)
            self.capacityBytes = capacityBytes
        }

        init(
            _ source: CloneSource, _ reference: GenerationReference, _ record: GenerationRecord, capacityBytes: UInt64
        ) {
            origin = VolumeRecord.Origin(source: source, generation: reference)
            inherited = (record.lineage, record.map.blockSize.bytes)
            // The generation may be of an expansion that came after the volume's record was read.
            self.capacityBytes = max(capacityBytes, record.map.capacityBytes)
        }
    }

    /// - Parameter chosen: of a volume that is the source; nil for its newest.
    /// - Throws: `notFound` where the source does not exist, or is being deleted, or the generation has expired;
    ///   `failedPrecondition` where it has nothing that could be cloned yet.
    func resolve(_ source: CloneSource, at chosen: GenerationReference?) async throws -> ResolvedSource {
        switch source {
        case .snapshot(let id):
            let snapshot = try await snapshot(id)
            guard snapshot.isReady else { throw Self.notReady(snapshot) }
            guard let pinned = snapshot.generation else {
                return ResolvedSource(empty: source, capacityBytes: snapshot.capacityBytes)
            }
            let record = try await generation(pinned, lineage: snapshot.lineage)
            return ResolvedSource(source, pinned, record, capacityBytes: snapshot.capacityBytes)
        case .volume(let id):
            if let chosen {
                let record = try await generation(chosen, lineage: try await volume(id).record.lineage)
                // It may be of before the volume was made larger.
                return ResolvedSource(source, chosen, record, capacityBytes: 0)
            }
            while true {
                let listing = try await volume(id)
                guard let newest = listing.head.newest else {
                    guard listing.head.lease == nil else { throw Self.nothingToClone(listing) }
                    return ResolvedSource(empty: source, capacityBytes: listing.record.capacityBytes)
                }
                if let record = try await generationIfThere(newest) {
                    return ResolvedSource(source, newest, record, capacityBytes: listing.record.capacityBytes)
                }
                // Others may have been committed since, and this one expired. If not, it is damaged.
                guard try await head(id).value.newest != newest else {
                    throw try await reasonMissing(newest, lineage: listing.record.lineage)
                }
                try Task.checkCancellation()
            }
        }
    }

    private static func nothingToClone(_ listing: VolumeListing) -> PerSSDError {
        PerSSDError(
            .failedPrecondition,
            "volume \(listing.record.title) is in use, and nothing of it has been staged out yet, so there is nothing to clone",
            remedy: "wait until its pod has ended, or make a snapshot, and a volume of that")
    }

    /// The capacity that a volume will have.
    ///
    /// - Throws: what `createVolume` throws of sizes and sources.
    public func capacity(of new: NewVolume) async throws -> UInt64 {
        guard let source = new.source else {
            return try VolumeSize.choose(required: new.requiredBytes, limit: new.limitBytes)
        }
        return try cloneCapacity(new, of: try await resolve(source, at: new.generation))
    }

    /// The capacity of a clone: what is asked for, or the source's.
    ///
    /// - Throws: `outOfRange` where that is less than the source has.
    func cloneCapacity(_ new: NewVolume, of source: ResolvedSource) throws -> UInt64 {
        func tooSmall(_ bound: String, _ bytes: Int64) -> PerSSDError {
            PerSSDError(
                .outOfRange,
                "\(bound) is \(bytes), and \(source.origin.source), which the volume is to be made of, has "
                    + "\(source.capacityBytes) bytes",
                remedy: "ask for as much or more: a clone can be larger than its source, never smaller")
        }
        let least = Int64(clamping: source.capacityBytes)
        if new.requiredBytes > 0, new.requiredBytes < least { throw tooSmall("required_bytes", new.requiredBytes) }
        if new.limitBytes > 0, new.limitBytes < least { throw tooSmall("limit_bytes", new.limitBytes) }
        return try VolumeSize.choose(
            required: new.requiredBytes == 0 ? least : new.requiredBytes, limit: new.limitBytes)
    }

    /// Makes sure that what a clone began at stays, now that its head pins it.
    ///
    /// A clone that was written since stands at a generation of its own.
    /// - Returns: false where the origin expired before the clone's head was there; the clone is deleted then.
    func secureOrigin(of listing: VolumeListing) async throws -> Bool {
        guard let generation = listing.record.origin?.generation, listing.head.newest == generation else { return true }
        if try await secure(generation, lineage: listing.record.lineage) != nil { return true }
        let (id, incarnation) = (listing.record.volume, listing.record.incarnation)
        let deletedAt = time
        do {
            _ = try await updateHead(id, incarnation: incarnation) { try $0.deleting(now: deletedAt) }
        } catch let error as PerSSDError where error.code == .notFound {
            // Another creation found the same, and deleted it.
        }
        try await buryRecord(of: id, incarnation)
        return false
    }
}
