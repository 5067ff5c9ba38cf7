import CSI
import CSIRules
import Errors
import Persistence
import RPC

/// What a snapshot pins.
public struct SnapshotGeneration: Sendable {
    /// The volume that the snapshot was taken of, and which life of it.
    public var volume: VolumeID
    public var incarnation: Incarnation
    /// Of the generation; those of a volume ascend with time.
    public var number: UInt64
    public var map: StoredMap

    public init(volume: VolumeID, incarnation: Incarnation, number: UInt64, map: StoredMap) {
        (self.volume, self.incarnation, self.number, self.map) = (volume, incarnation, number, map)
    }
}

/// Where snapshots are found by their ids.
public protocol GenerationSource: Sendable {
    /// - Parameter id: as a caller sent it, within the specification's limits.
    /// - Returns: nil where there is no such snapshot.
    /// - Throws: `failedPrecondition` where the snapshot is not ready to use yet.
    func generation(ofSnapshot id: String) async throws -> SnapshotGeneration?
}

/// CSI's SnapshotMetadata service, for backup programs: which parts of a snapshot hold data, and which differ from those of
/// an earlier one. Straight from the block maps; nothing of the data is read.
///
/// Ranges are as long as they can be (VARIABLE_LENGTH) and consist of whole blocks, so what differs in one byte is told of
/// as a block.
public struct SnapshotMetadataPlugin: SnapshotMetadataService {
    /// Ranges in one response, 24 bytes each at the most: a sixteenth of gRPC's 4 MiB.
    static let largestBatch = 10_000

    private let source: any GenerationSource

    public init(source: any GenerationSource) { self.source = source }

    public func getMetadataAllocated(
        _ request: GetMetadataAllocatedRequest, context: RPCContext,
        responses: ResponseWriter<GetMetadataAllocatedResponse>
    ) async throws {
        try RequestChecks.required(request.snapshotID, "snapshot_id")
        let stream = try MetadataStream(startingOffset: request.startingOffset, maxResults: request.maxResults)
        let snapshot = try await snapshot(request.snapshotID, "snapshot_id")
        try await stream.run(snapshot, since: nil) { capacity, ranges in
            try await responses.send(
                GetMetadataAllocatedResponse(
                    blockMetadataType: .variableLength, volumeCapacityBytes: capacity, blockMetadata: ranges))
        }
    }

    public func getMetadataDelta(
        _ request: GetMetadataDeltaRequest, context: RPCContext, responses: ResponseWriter<GetMetadataDeltaResponse>
    ) async throws {
        try RequestChecks.required(request.baseSnapshotID, "base_snapshot_id")
        try RequestChecks.required(request.targetSnapshotID, "target_snapshot_id")
        let stream = try MetadataStream(startingOffset: request.startingOffset, maxResults: request.maxResults)
        async let baseFound = snapshot(request.baseSnapshotID, "base_snapshot_id")
        async let targetFound = snapshot(request.targetSnapshotID, "target_snapshot_id")
        let (base, target) = try await (baseFound, targetFound)
        try Self.requireOrder(base, target)
        try await stream.run(target, since: base) { capacity, ranges in
            try await responses.send(
                GetMetadataDeltaResponse(
                    blockMetadataType: .variableLength, volumeCapacityBytes: capacity, blockMetadata: ranges))
        }
    }

    private func snapshot(_ id: String, _ field: String) async throws -> SnapshotGeneration {
        guard let snapshot = try await source.generation(ofSnapshot: id) else {
            throw PerSSDError(
                .notFound, "\(field) is '\(id)', and there is no such snapshot",
                remedy: "take a full backup where the snapshot to compare with is gone")
        }
        return snapshot
    }

    private static func requireOrder(_ base: SnapshotGeneration, _ target: SnapshotGeneration) throws {
        guard base.volume == target.volume, base.incarnation == target.incarnation else {
            throw PerSSDError(
                .invalidArgument,
                "base_snapshot_id names a snapshot of volume \(base.volume), and target_snapshot_id one of volume "
                    + "\(target.volume)" + (base.volume == target.volume ? " after it was deleted and made anew" : ""),
                remedy: "give two snapshots of one volume")
        }
        guard base.number <= target.number else {
            throw PerSSDError(
                .invalidArgument,
                "base_snapshot_id names generation \(base.number) of volume \(base.volume), which is newer than "
                    + "generation \(target.number) of target_snapshot_id",
                remedy: "give the older snapshot as the base")
        }
    }
}

/// What both calls have in common: where to begin, how much to send at once, and when.
private struct MetadataStream {
    private let start: UInt64
    private let batch: Int

    init(startingOffset: Int64, maxResults: Int32) throws {
        guard let start = UInt64(exactly: startingOffset) else {
            throw PerSSDError(
                .outOfRange, "starting_offset is \(startingOffset)", remedy: "give 0, or a position in the volume")
        }
        guard maxResults >= 0 else {
            throw PerSSDError(
                .invalidArgument, "max_results is \(maxResults)", remedy: "give 0 for no limit, or a number above")
        }
        self.start = start
        let largest = SnapshotMetadataPlugin.largestBatch
        batch = maxResults == 0 ? largest : min(Int(maxResults), largest)
    }

    /// Sends batch by batch; the next is made ready only once the client has taken the one before.
    func run(
        _ target: SnapshotGeneration, since base: SnapshotGeneration?,
        _ send: (Int64, [BlockMetadata]) async throws -> Void
    ) async throws {
        let capacity = target.map.root.capacityBytes
        // A stream that broke off after its last range goes on at the very end.
        guard start <= capacity else {
            throw PerSSDError(
                .outOfRange, "starting_offset is \(start), and the snapshot has \(capacity) bytes",
                remedy: "give a position in the volume")
        }
        let difference = try MapDifference(of: target.map, since: base?.map)
        var ranges: [BlockMetadata] = []
        var hasSent = false
        try await difference.run(within: start..<capacity) { range in
            ranges.append(
                BlockMetadata(byteOffset: Int64(range.lowerBound), sizeBytes: Int64(range.count)))
            guard ranges.count == batch else { return }
            try await send(Int64(capacity), ranges)
            ranges.removeAll(keepingCapacity: true)
            hasSent = true
        }
        // The capacity is told of even where there is nothing else.
        if !ranges.isEmpty || !hasSent { try await send(Int64(capacity), ranges) }
    }
}
