import Errors

extension CopyRecord {
    /// That `record` may be saved in this one's place, in any pool.
    ///
    /// - Throws: `failedPrecondition` where it is of another life of the volume, or of another size.
    func requireSuccessor(_ record: CopyRecord) throws {
        guard record.incarnation == incarnation, record.lineage == lineage else {
            throw PerSSDError(
                .failedPrecondition,
                "the local copy of '\(record.volume)' is of another incarnation than the record to save",
                remedy: "remove the copy, and make a new one")
        }
        guard record.sizeBytes == sizeBytes else {
            throw PerSSDError(
                .failedPrecondition,
                "the local copy of '\(record.volume)' has \(sizeBytes) bytes, not \(record.sizeBytes): only a resize "
                    + "changes that")
        }
    }
}
