import CSI
import CSIRules
import Errors
import Persistence
import RPC
import Units

extension ControllerPlugin {
    /// Grants the volume's lease to a node; or, where many nodes may read it, lets this one read what is newest.
    public func controllerPublishVolume(
        _ request: ControllerPublishVolumeRequest, context: RPCContext
    ) async throws -> ControllerPublishVolumeResponse {
        let id = try VolumeID.named(request.volumeID)
        try RequestChecks.required(request.nodeID, "node_id", limit: RequestChecks.nodeIDLimit)
        try CapabilityRules.wellFormed(request.volumeCapability, "volume_capability")
        try RequestChecks.map(request.volumeContext, "volume_context")
        guard let id, let capability = request.volumeCapability else { throw Self.noVolume(request.volumeID) }
        try CapabilityRules.supported(capability)

        var volume = try await catalog.volume(id)
        let named = request.volumeContext[Driver.VolumeContextKey.incarnation]
        guard named == nil || named == volume.record.incarnation.rawValue else {
            throw PerSSDError(
                .notFound, "volume \(id) has been deleted and made anew since this volume_context was given",
                remedy: "delete the PersistentVolume that still has it")
        }
        guard let reference = nodeReference(request.nodeID), let node = try await catalog.node(reference) else {
            throw PerSSDError(
                .notFound, "there is no node '\(request.nodeID)' in cluster \(cluster)",
                remedy: "start the node plugin there")
        }
        let publication = capability.publication(readOnly: request.readonly)
        volume = try await handOver(
            volume, to: node, reading: capability.isForManyReaders, until: context.deadline)
        if capability.isForManyReaders { return try await publish(volume, toReader: node, as: publication) }
        if try await catalog.reader(of: volume, on: reference) != nil {
            throw PerSSDError(
                .alreadyExists, "volume \(id) is published on node \(reference) already, for many nodes to read",
                remedy: "unpublish it there first")
        }
        // Whether another node holds it is for the lease to say.
        try requireRoom(for: volume, on: node, isThere: volume.head.lease != nil)
        let now = catalog.time
        let head = try await catalog.updateHead(id, incarnation: volume.record.incarnation) {
            try $0.granting(to: reference, as: publication, now: now)
        }.value
        logger.info(
            "volume is granted",
            metadata: ["volume": "\(id)", "node": "\(reference)", "epoch": "\(head.epoch)"])
        return ControllerPublishVolumeResponse(publishContext: [
            Driver.PublishContextKey.epoch: "\(head.epoch)",
            Driver.PublishContextKey.incarnation: head.incarnation.rawValue,
        ])
    }

    /// Ends what another node holds back of the volume, or any node where it is to be read: who reads, and who writes elsewhere,
    /// needs all of it committed.
    ///
    /// - Returns: the volume as it stands then.
    private func handOver(
        _ volume: VolumeListing, to node: NodeRecord, reading: Bool, until deadline: ContinuousClock.Instant?
    ) async throws -> VolumeListing {
        // While it is attached there, that is to end first.
        guard let lease = volume.head.lease, lease.isHeldBack, lease.publication == nil,
            reading || lease.holder != node.node
        else { return volume }
        try requireRoom(for: volume, on: node, isThere: lease.holder == node.node)
        let id = volume.record.volume
        try await settleHeldBack(id, until: deadline)
        return try await catalog.volume(id)
    }

    private func publish(
        _ volume: VolumeListing, toReader node: NodeRecord, as publication: Lease.Publication
    ) async throws -> ControllerPublishVolumeResponse {
        let standing = try await catalog.reader(of: volume, on: node.node)
        try requireRoom(for: volume, on: node, isThere: standing != nil)
        let reader = try await catalog.beginReading(volume, by: node.node, as: publication)
        logger.info(
            "volume is published to be read",
            metadata: [
                "volume": "\(reader.volume)", "node": "\(reader.node)", "generation": "\(reader.generation.number)",
            ])
        return ControllerPublishVolumeResponse(publishContext: [
            Driver.PublishContextKey.generation: "\(reader.generation.number)",
            Driver.PublishContextKey.incarnation: reader.incarnation.rawValue,
        ])
    }

    /// - Parameter isThere: whether the node has its local copy, or is making it, and needs no more room.
    private func requireRoom(for volume: VolumeListing, on node: NodeRecord, isThere: Bool) throws {
        let record = volume.record
        guard let pool = node.pool(record.parameters.pool) else {
            let known = node.pools.map(\.name).sorted().joined(separator: ", ")
            throw PerSSDError(
                .failedPrecondition,
                "node \(node.node) has no pool '\(record.parameters.pool)', which volume \(record.volume) belongs to; it "
                    + "has \(known.isEmpty ? "none" : known)",
                remedy: "use a node of that pool")
        }
        guard !isThere, pool.availableBytes < record.capacityBytes else { return }
        throw PerSSDError(
            .resourceExhausted,
            "pool '\(pool.name)' of node \(node.node) has no room for volume \(record.volume): it needs "
                + "\(ByteCount(record.capacityBytes)), and \(ByteCount(pool.freeBytes)) are free and "
                + "\(ByteCount(pool.evictableBytes)) can be evicted of \(ByteCount(pool.totalBytes))",
            remedy: "wait until other volumes leave the node, or use another node")
    }

    /// Takes the volume's lease back, and waits, within the call's time, for what is not committed yet. Readers have nothing to
    /// commit, and need nothing of the bucket any more: their records go at once, whether the node lives or not.
    public func controllerUnpublishVolume(
        _ request: ControllerUnpublishVolumeRequest, context: RPCContext
    ) async throws -> ControllerUnpublishVolumeResponse {
        let id = try VolumeID.named(request.volumeID)
        try RequestChecks.optional(request.nodeID, "node_id", limit: RequestChecks.nodeIDLimit)
        let node = nodeReference(request.nodeID)
        // What cannot exist is not published anywhere.
        guard let id, request.nodeID.isEmpty || node != nil else { return ControllerUnpublishVolumeResponse() }
        if let node {
            try await catalog.removeReaders(node, of: id)
        } else {
            try await catalog.removeReaders(cluster: cluster, of: id)
        }
        let detach = Detach(
            volume: id, node: node, cluster: cluster, catalog: catalog, events: events, agents: agents, logger: logger)
        try await detach.run(until: context.deadline)
        return ControllerUnpublishVolumeResponse()
    }
}
