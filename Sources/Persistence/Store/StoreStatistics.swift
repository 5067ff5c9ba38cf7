import Synchronization

/// What a store has been asked for since it was made.
public struct StoreStatistics: Sendable, Hashable {
    public enum Operation: String, Sendable, CaseIterable, CodingKeyRepresentable, Codable {
        case read, readRange, info, write, remove, list, multipart, check
    }

    /// Attempts, by what they were for.
    public var requests: [Operation: Int] = [:]
    /// How many of them were not the first of their request.
    public var retries = 0
    /// Bytes of objects, sent to the store and received from it.
    public var bytesSent: UInt64 = 0
    public var bytesReceived: UInt64 = 0
    /// Time that the store itself took, summed over all requests, where it can be told from ours.
    public var waited = Duration.zero

    public var totalRequests: Int { requests.values.reduce(0, +) }

    public init() {}

    /// What was asked for since `earlier`, an older value of the same store's.
    public func since(_ earlier: StoreStatistics) -> StoreStatistics {
        var difference = self
        difference.requests = requests.merging(earlier.requests, uniquingKeysWith: -).filter { $0.value != 0 }
        difference.retries -= earlier.retries
        difference.bytesSent -= earlier.bytesSent
        difference.bytesReceived -= earlier.bytesReceived
        difference.waited -= earlier.waited
        return difference
    }
}

/// Counts from any thread.
final class StoreStatisticsCounter: Sendable {
    private let counts = Mutex(StoreStatistics())

    var snapshot: StoreStatistics { counts.withLock { $0 } }

    func add(_ operation: StoreStatistics.Operation) {
        counts.withLock { $0.requests[operation, default: 0] += 1 }
    }

    func addReceived(_ bytes: Int) { counts.withLock { $0.bytesReceived += UInt64(bytes) } }
    func addSent(_ bytes: Int) { counts.withLock { $0.bytesSent += UInt64(bytes) } }
    func addRetry() { counts.withLock { $0.retries += 1 } }
}
