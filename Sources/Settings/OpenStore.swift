import Errors
import Persistence

/// Opens the store that the settings name; nothing is asked of it yet.
///
/// - Throws: `invalidArgument`, `failedPrecondition` or `storeMissing` where the settings do not fit the machine.
public func openStore(_ settings: StoreSettings) async throws -> any ObjectStore {
    switch settings.location {
    case .s3(let bucket, let prefix):
        try S3Store(settings.s3Configuration(bucket: bucket, prefix: prefix))
    case .directory(let path):
        try await DirectoryStore.open(directory: path)
    }
}

/// Opens a store for reading, and asks it once whether it can be used.
///
/// - Throws: as `openStore`; what the store's check throws.
public func openExistingStore(_ settings: StoreSettings) async throws -> any ObjectStore {
    let store = try await openStore(settings)
    try await store.check()
    return store
}

/// Opens a store for writing, and proves it.
///
/// - Throws: as `openStore` and `proveStore`.
public func openProvenStore(_ settings: StoreSettings) async throws -> MeteredStore {
    let store = MeteredStore(try await openStore(settings))
    try await proveStore(store)
    return store
}

/// Proves that what is promised to others can be kept with a store: that it can be used at all, honours conditional writes, and is
/// PerSSD's, in a format that is known here.
///
/// - Throws: what the store's check throws; `failedPrecondition`, with the reason and the cure, where it does not honour them.
public func proveStore(_ store: any ObjectStore) async throws {
    try await store.check()
    try await verifyConditionalWrites(on: store)
    _ = try await StoreIdentity.establish(in: store)
}
