import Errors

/// What names, reads, or goes on from the generations of a volume's history.
public struct HistoryMarks: Sendable {
    public var snapshots: [GenerationReference: [SnapshotRecord]] = [:]
    public var pins: [GenerationReference: [PinRecord]] = [:]
    public var readers: [GenerationReference: [ReaderRecord]] = [:]
    /// Volumes that begin at a generation.
    public var clones: [GenerationReference: [VolumeListing]] = [:]
    /// What fenced nodes had written, by ascending epoch. The one of number n is based on generation n - 1.
    public var branches: [GenerationRecord] = []
}

extension Catalog {
    /// Looks through all volumes and snapshots, as what hangs on a generation is known from its own record only.
    ///
    /// - Parameter history: generations of the volume, and of those that it was cloned from.
    public func marks(of listing: VolumeListing, on history: [GenerationReference]) async throws -> HistoryMarks {
        var marks = HistoryMarks()
        let wanted = Set(history)
        func group<Value>(
            _ values: [Value], _ generation: (Value) -> GenerationReference?
        ) -> [GenerationReference: [Value]] {
            var groups: [GenerationReference: [Value]] = [:]
            for value in values {
                if let generation = generation(value), wanted.contains(generation) {
                    groups[generation, default: []].append(value)
                }
            }
            return groups
        }
        marks.branches = try await branches(of: listing.record.volume, listing.record.incarnation)
        guard !history.isEmpty else { return marks }
        marks.snapshots = group(try await all(SnapshotRecord.self, below: CatalogKey.snapshots)) {
            $0.deletedAt == nil ? $0.generation : nil
        }
        var volumes = Set(history.map(\.volume))
        volumes.insert(listing.record.volume)
        for volume in volumes {
            marks.pins.merge(group(try await pins(of: volume), \.generation)) { $0 + $1 }
            marks.readers.merge(group(try await readers(of: volume), \.generation)) { $0 + $1 }
        }
        marks.clones = group(try await allVolumes()) {
            $0.record.incarnation == listing.record.incarnation ? nil : $0.record.origin?.generation
        }
        return marks
    }

    /// Every volume that there is, in the order of their ids.
    public func allVolumes() async throws -> [VolumeListing] {
        var found: [VolumeListing] = []
        let pageSize = 1000
        while true {
            let page = try await volumes(after: found.last?.record.volume, limit: pageSize)
            found += page
            if page.count < pageSize { return found }
        }
    }
}
