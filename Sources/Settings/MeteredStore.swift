import Persistence
import Synchronization

/// A store that counts what is asked of it, so that a process can say what its work cost.
public final class MeteredStore: ObjectStore {
    /// Since the store was opened.
    public struct Totals: Sendable, Equatable {
        /// Calls, each of which is at least one request to the server.
        public var requests = 0
        public var sentBytes: UInt64 = 0
        public var receivedBytes: UInt64 = 0

        public init() {}
    }

    private let store: any ObjectStore
    private let counted = Mutex(Totals())

    public init(_ store: any ObjectStore) { self.store = store }

    public var totals: Totals { counted.withLock { $0 } }
    public var location: String { store.location }

    public func read(_ key: ObjectKey) async throws -> StoredObject? {
        count()
        let object = try await store.read(key)
        received(object?.bytes.count)
        return object
    }

    public func read(_ key: ObjectKey, range: Range<UInt64>) async throws -> [UInt8]? {
        count()
        let bytes = try await store.read(key, range: range)
        received(bytes?.count)
        return bytes
    }

    public func info(_ key: ObjectKey) async throws -> ObjectInfo? {
        count()
        return try await store.info(key)
    }

    public func write(_ key: ObjectKey, _ bytes: [UInt8], condition: WriteCondition) async throws -> ETag {
        counted.withLock {
            $0.requests += 1
            $0.sentBytes += UInt64(bytes.count)
        }
        return try await store.write(key, bytes, condition: condition)
    }

    public func remove(_ key: ObjectKey) async throws {
        count()
        try await store.remove(key)
    }

    public func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> [ObjectInfo] {
        count()
        return try await store.list(prefix: prefix, after: after, limit: limit)
    }

    public func listFolders(in folder: String, after: String?, limit: Int) async throws -> [String] {
        count()
        return try await store.listFolders(in: folder, after: after, limit: limit)
    }

    public func check() async throws {
        count()
        try await store.check()
    }

    private func count() { counted.withLock { $0.requests += 1 } }
    private func received(_ bytes: Int?) { counted.withLock { $0.receivedBytes += UInt64(bytes ?? 0) } }
}
