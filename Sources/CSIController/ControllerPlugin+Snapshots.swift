import Agents
import CSI
import CSIRules
import Errors
import Foundation
import Persistence
import RPC
import Units

extension ControllerPlugin {
    /// Pins the newest generation of a volume that no pod writes, which moves no data, however large the volume is. One that
    /// a pod has is cut by its node's agent, and is ready once the node has committed what was cut.
    ///
    /// The first answer comes when the cut is made, as it tells of when that was; until then the call fails, and the next
    /// try joins the work.
    public func createSnapshot(
        _ request: CreateSnapshotRequest, context: RPCContext
    ) async throws -> CreateSnapshotResponse {
        try RequestChecks.required(request.name, "name")
        try RequestChecks.required(request.sourceVolumeID, "source_volume_id")
        try RequestChecks.map(request.parameters, "parameters")
        try Self.requireKnown(request.parameters)
        guard let volume = VolumeID(request.sourceVolumeID) else { throw Self.noVolume(request.sourceVolumeID) }
        var record = try await catalog.createSnapshot(name: request.name, of: volume)
        if let delivery = record.delivery {
            record = try await deliver(record, delivery, until: context.deadline)
        }
        logger.info(
            record.isReady ? "snapshot is there" : "snapshot is cut",
            metadata: [
                "snapshot": "\(record.snapshot)", "volume": "\(volume)",
                "generation": "\(record.generation?.number ?? 0)",
            ])
        return CreateSnapshotResponse(snapshot: Self.message(record))
    }

    /// - Throws: `aborted` where the cut is not made yet; what the node says, or that it does not, with what is newest.
    private func deliver(
        _ record: SnapshotRecord, _ delivery: SnapshotRecord.Delivery, until deadline: ContinuousClock.Instant?
    ) async throws -> SnapshotRecord {
        do {
            try await agents.deliver(record.snapshot, on: delivery.node, until: deadline)
        } catch let error as PerSSDError {
            let newest = try? await catalog.volume(record.volume).head.newest
            let generation = if let newest { try? await catalog.generation(newest) } else { GenerationRecord?.none }
            let age = generation.map { Duration.seconds(catalog.time.timeIntervalSince($0.provenance.cutAt)).text }
            throw error.during(
                "volume \(record.volume) is in use on node \(delivery.node.node), which cannot cut it for a snapshot; its "
                    + (newest.map { "newest generation is \($0.number), \(age ?? "some time") old" }
                        ?? "first generation is still to come"))
        }
        let now = try await catalog.snapshot(record.snapshot)
        guard now.isReady || now.delivery?.cutAt != nil else {
            throw PerSSDError(
                .aborted, "node \(delivery.node.node) has not cut volume \(record.volume) yet",
                remedy: "the work goes on; the next try joins it")
        }
        return now
    }

    /// What the snapshotter adds when it is told to (`--extra-create-metadata`); there are no parameters of our own.
    static func requireKnown(_ parameters: [String: String]) throws {
        let known = Set(Driver.SnapshotterKey.all)
        guard let key = parameters.keys.sorted().first(where: { !known.contains($0) }) else { return }
        throw PerSSDError(
            .invalidArgument, "parameters has '\(key.prefix(100))', and snapshots have no parameters",
            remedy: "take it out of the VolumeSnapshotClass")
    }

    public func deleteSnapshot(
        _ request: DeleteSnapshotRequest, context: RPCContext
    ) async throws -> DeleteSnapshotResponse {
        // An id that no snapshot can have is one that does not exist, and deleting that succeeds.
        guard let id = try SnapshotID.named(request.snapshotID) else { return DeleteSnapshotResponse() }
        try await catalog.deleteSnapshot(id)
        logger.info("snapshot is deleted", metadata: ["snapshot": "\(id)"])
        return DeleteSnapshotResponse()
    }

    public func getSnapshot(_ request: GetSnapshotRequest, context: RPCContext) async throws -> GetSnapshotResponse {
        guard let id = try SnapshotID.named(request.snapshotID) else { throw Self.noSnapshot(request.snapshotID) }
        return GetSnapshotResponse(snapshot: Self.message(try await catalog.snapshot(id)))
    }

    /// By id, by volume, or all of them. What is filtered for and not there is an empty list.
    public func listSnapshots(
        _ request: ListSnapshotsRequest, context: RPCContext
    ) async throws -> ListSnapshotsResponse {
        try RequestChecks.optional(request.snapshotID, "snapshot_id")
        try RequestChecks.optional(request.sourceVolumeID, "source_volume_id")
        let paging = try Paging(
            maxEntries: request.maxEntries, startingToken: request.startingToken, call: "ListSnapshots"
        ) { SnapshotID($0) }
        let volume = VolumeID(request.sourceVolumeID)
        guard request.sourceVolumeID.isEmpty || volume != nil else { return ListSnapshotsResponse() }
        guard request.snapshotID.isEmpty else {
            guard let id = SnapshotID(request.snapshotID) else { return ListSnapshotsResponse() }
            do {
                let record = try await catalog.snapshot(id)
                return Self.listing(volume == nil || record.volume == volume ? [record] : [], limit: 1)
            } catch let error as PerSSDError where error.code == .notFound {
                return ListSnapshotsResponse()
            }
        }
        return Self.listing(
            try await catalog.snapshots(of: volume, after: paging.after, limit: paging.limit + 1), limit: paging.limit)
    }

    static func noSnapshot(_ id: String) -> PerSSDError {
        PerSSDError(.notFound, "there is no snapshot '\(id)'")
    }

    private static func listing(_ found: [SnapshotRecord], limit: Int) -> ListSnapshotsResponse {
        let page = found.prefix(limit)
        return ListSnapshotsResponse(
            entries: page.map { ListSnapshotsResponse.Entry(snapshot: message($0)) },
            nextToken: found.count > limit ? page.last?.snapshot.rawValue ?? "" : "")
    }

    static func message(_ record: SnapshotRecord) -> Snapshot {
        Snapshot(
            sizeBytes: Int64(clamping: record.capacityBytes), snapshotID: record.snapshot.rawValue,
            sourceVolumeID: record.volume.rawValue,
            creationTime: Timestamp(seconds: Int64(record.createdAt.timeIntervalSince1970), nanoseconds: 0),
            readyToUse: record.isReady, groupSnapshotID: record.group?.rawValue ?? "")
    }
}
