import Errors
import LocalVolumes
import Persistence
import Units

/// What a NodeExpandVolume asks for: bounds in bytes, 0 where there is none.
struct Expansion: Sendable, Hashable {
    /// One of the volume's targets, as the mount table has it.
    var path: String
    var requiredBytes: Int64
    var limitBytes: Int64
}

extension LocalVolumeWork {
    /// Makes the local copy, its device and its file system as large as the volume is, while pods use it.
    ///
    /// Each step is fine where it has been done already, so a try that failed or died half-way is finished by the next
    /// one, or by the next publish.
    func expand(_ wanted: Expansion, progress: WorkProgress) async throws {
        do {
            guard let record = copy, record.state == .dirty else {
                throw PerSSDError(
                    .failedPrecondition, "it is published read-only, so nothing on it may change",
                    remedy: "publish it for writing: it grows then")
            }
            let volumeRecord = try await currentRecord(record)
            let known = volumeRecord.capacityBytes
            let capacity = try VolumeSize.grow(
                known, required: wanted.requiredBytes, limit: wanted.limitBytes)
            try await makeRoom(toGrowTo: capacity, progress: progress)
            if capacity > known {
                // An orchestrator that asks only the node.
                _ = try await environment.catalog.expandVolume(
                    volume, incarnation: volumeRecord.incarnation, requiredBytes: wanted.requiredBytes,
                    limitBytes: wanted.limitBytes)
            }
            try await growCopy(to: capacity, progress: progress)
            guard let kind = try await environment.publisher.stagedKind(of: volume.rawValue),
                let path = try await environment.publisher.stagedPath(of: volume.rawValue)
            else { return }
            progress.enter("growing the \(kind.rawValue)")
            try await environment.fileSystems.grow(kind, on: try await attach(), mountedAt: path)
            environment.logger.info(
                "the volume has grown", metadata: ["volume": "\(volume)", "size": "\(ByteCount(capacity))"])
        } catch {
            throw PerSSDError(wrapping: error, during: "cannot expand volume \(volume)")
        }
    }

    /// What the volume is now, in the life that the copy is of.
    private func currentRecord(_ copy: CopyRecord) async throws -> VolumeRecord {
        let record = try await environment.catalog.volume(volume).record
        guard record.incarnation.rawValue == copy.incarnation else {
            throw PerSSDError(.notFound, "volume \(volume) has been deleted and made anew since it was published here")
        }
        return record
    }

    private func makeRoom(toGrowTo size: UInt64, progress: WorkProgress) async throws {
        guard let record = copy, size > record.sizeBytes else { return }
        let pool = try self.pool
        progress.enter("making room in pool \(pool.name)")
        try await environment.makeRoom(size - record.sizeBytes, pool)
    }

    /// Makes the local copy and its device at least this large, evicting others where the pool lacks room.
    ///
    /// - Throws: `resourceExhausted`, with the sizes, where there is no room.
    func growCopy(to size: UInt64, progress: WorkProgress) async throws {
        try await makeRoom(toGrowTo: size, progress: progress)
        try await recordChanges.run {
            guard let record = copy else { throw PerSSDError(.internal, "volume \(volume) has no local copy") }
            // Also where it has the size: an earlier try may not have reached the device.
            let bytes = max(size, record.sizeBytes)
            try await pool.resize(volume.rawValue, toBytes: bytes)
            memory.withLock { $0.copy?.sizeBytes = bytes }
        }
        environment.poolChanged()
    }
}
