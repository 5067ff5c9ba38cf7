import Errors

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
        let key = try CatalogKey.volume(id)
        while true {
            // Both objects say whether there is a volume; the record's version is what the write is bound to.
            let head = try await volume(id).head
            guard let current = try await load(VolumeRecord.self, at: key), current.value.deletedAt == nil,
                current.value.incarnation == head.incarnation,
                incarnation == nil || incarnation == head.incarnation
            else { throw Self.noVolume(id) }
            let capacity = try VolumeSize.grow(
                current.value.capacityBytes, required: requiredBytes, limit: limitBytes)
            guard capacity > current.value.capacityBytes else { return current.value }
            var larger = current.value
            larger.capacityBytes = capacity
            do {
                _ = try await save(larger, at: key, condition: .matches(current.etag))
                return larger
            } catch let error as PerSSDError where error.code == .conflict {
                // Another expansion or a deletion was faster; what it wrote is looked at anew.
                try Task.checkCancellation()
            }
        }
    }
}
