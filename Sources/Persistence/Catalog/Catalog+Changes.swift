import Errors

/// Changes of a volume's record while the volume lives.
extension Catalog {
    /// Makes a volume larger, in its record; the local copy follows when it is next published, or is told to. Fine where
    /// the volume is as large already.
    ///
    /// - Parameters:
    ///   - incarnation: which life of the volume is meant; nil for the present one.
    ///   - requiredBytes: what it has to have at the least; 0 for no more than it has.
    ///   - limitBytes: what it may have at the most; 0 for anything.
    /// - Returns: the record as it stands.
    /// - Throws: `notFound` where there is no such volume; `invalidArgument` and `outOfRange` as `VolumeSize.grow`.
    public func expandVolume(
        _ id: VolumeID, incarnation: Incarnation? = nil, requiredBytes: Int64, limitBytes: Int64
    ) async throws -> VolumeRecord {
        try await updateRecord(of: id, incarnation: incarnation) { record in
            record.capacityBytes = try VolumeSize.grow(
                record.capacityBytes, required: requiredBytes, limit: limitBytes)
        }
    }

    /// Changes parameters of a volume; all of them, or none. Fine where they are so already.
    ///
    /// - Parameter mutable: those to change, as text.
    /// - Returns: the record as it stands.
    /// - Throws: `notFound` where there is no such volume; `invalidArgument` as `VolumeParameters.changed`.
    public func modifyVolume(_ id: VolumeID, to mutable: [String: String]) async throws -> VolumeRecord {
        try await updateRecord(of: id, incarnation: nil) { [time] record in
            let next = try record.parameters.changed(to: mutable)
            guard next != record.parameters else { return }
            try next.requireConsistent()
            record.parameters = next
            record.modifiedAt = time
        }
    }

    /// Takes a volume's record one step further by compare-and-swap.
    ///
    /// - Parameter step: pure; may run several times. A record that it does not change is not written.
    private func updateRecord(
        of id: VolumeID, incarnation: Incarnation?, _ step: (inout VolumeRecord) throws -> Void
    ) async throws -> VolumeRecord {
        let key = try CatalogKey.volume(id)
        while true {
            // Both objects say whether there is a volume; the record's version is what the write is bound to.
            let head = try await self.head(id).value
            guard let current = try await load(VolumeRecord.self, at: key), current.value.deletedAt == nil,
                current.value.incarnation == head.incarnation,
                incarnation == nil || incarnation == head.incarnation
            else { throw Self.noVolume(id) }
            var next = current.value
            try step(&next)
            guard next != current.value else { return next }
            do {
                _ = try await save(next, at: key, condition: .matches(current.etag))
                return next
            } catch let error as PerSSDError where error.code == .conflict {
                // Another change or a deletion was faster; what it wrote is looked at anew.
                try Task.checkCancellation()
            }
        }
    }
}
