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
    /// Why not all may be here: records that are damaged, which may be of quite other volumes.
    public var problems: [PerSSDError] = []
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
        func usable<Value>(_ read: () async throws -> [Value]) async throws -> [Value] {
            do {
                return try await read()
            } catch let error as PerSSDError where error.code == .corrupt || error.code == .unsupported {
                marks.problems.append(error)
                return []
            }
        }
        marks.branches = try await usable {
            try await branches(of: listing.record.volume, listing.record.incarnation)
        }
        guard !history.isEmpty else { return marks }
        let snapshots = try await usable { try await all(SnapshotRecord.self, below: CatalogKey.snapshots) }
        let naming = snapshots.filter { $0.deletedAt == nil && $0.generation.map(wanted.contains) == true }
        // A group that was never made has none, whatever its try has left.
        marks.snapshots = group(try await usable { try await visible(naming) }, \.generation)
        for volume in Set(history.map(\.volume)).union([listing.record.volume]) {
            let labels = try await usable { try await pins(of: volume) }
            marks.pins.merge(group(labels, \.generation)) { $0 + $1 }
            let nodes = try await usable { try await readers(of: volume) }
            marks.readers.merge(group(nodes, \.generation)) { $0 + $1 }
        }
        marks.clones = group(try await usable { try await allVolumes() }) {
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
