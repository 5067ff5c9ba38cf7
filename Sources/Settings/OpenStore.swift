import Errors
import Persistence

/// Opens the store that the settings name; nothing is asked of it yet.
///
/// - Throws: `invalidArgument`, `failedPrecondition` or `notFound` where the settings do not fit the machine.
public func openStore(_ settings: StoreSettings) async throws -> any ObjectStore {
    switch settings.location {
    case .s3(let bucket, let prefix):
        try S3Store(settings.s3Configuration(bucket: bucket, prefix: prefix))
    case .directory(let path):
        throw PerSSDError(.unsupported, "\(path)")
    }
}
