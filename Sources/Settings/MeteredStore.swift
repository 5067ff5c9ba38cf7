import Errors
import Metering
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
    public var statistics: StoreStatistics { store.statistics }

    public func read(_ key: ObjectKey) async throws -> StoredObject? {
        try await measured("read", received: { $0?.bytes.count }) { try await store.read(key) }
    }

    public func read(_ key: ObjectKey, range: Range<UInt64>) async throws -> [UInt8]? {
        try await measured("read_range", received: { $0?.count }) { try await store.read(key, range: range) }
    }

    public func info(_ key: ObjectKey) async throws -> ObjectInfo? {
        try await measured("info") { try await store.info(key) }
    }

    public func write(_ key: ObjectKey, _ bytes: [UInt8], condition: WriteCondition) async throws -> ETag {
        try await measured("write", sent: bytes.count) { try await store.write(key, bytes, condition: condition) }
    }

    public func remove(_ key: ObjectKey) async throws {
        try await measured("remove") { try await store.remove(key) }
    }

    public func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> [ObjectInfo] {
        try await measured("list") { try await store.list(prefix: prefix, after: after, limit: limit) }
    }

    public func listFolders(in folder: String, after: String?, limit: Int) async throws -> [String] {
        try await measured("list_folders") { try await store.listFolders(in: folder, after: after, limit: limit) }
    }

    public func check() async throws {
        try await measured("check") { try await store.check() }
    }

    /// - Parameters:
    ///   - sent: bytes; counted whether they arrive or not.
    ///   - received: bytes of the answer.
    private func measured<Answer>(
        _ operation: String, sent: Int = 0, received: (Answer) -> Int? = { _ in nil },
        _ request: () async throws -> Answer
    ) async throws -> Answer {
        counted.withLock {
            $0.requests += 1
            $0.sentBytes += UInt64(sent)
        }
        Instruments.storeSentBytes.add(UInt64(sent))
        let start = ContinuousClock.now
        do {
            let answer = try await request()
            let bytes = UInt64(received(answer) ?? 0)
            counted.withLock { $0.receivedBytes += bytes }
            Instruments.storeReceivedBytes.add(bytes)
            ended(operation, "ok", since: start)
            return answer
        } catch {
            ended(operation, Self.outcome(of: error), since: start)
            throw error
        }
    }

    private func ended(_ operation: String, _ outcome: String, since start: ContinuousClock.Instant) {
        Instruments.storeRequests.add(1, operation, outcome)
        Instruments.storeRequestDuration.observe(.now - start, operation)
    }

    /// A condition that does not hold is an answer as good as any, and so is a request that is not wanted any more.
    private static func outcome(of error: any Error) -> String {
        switch PerSSDError(wrapping: error).code {
        case .conflict: "conflict"
        case .cancelled: "cancelled"
        default: "error"
        }
    }
}
