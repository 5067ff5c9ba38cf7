/// What a store has asked of its server since it was made.
public struct S3Statistics: Sendable, Hashable {
    public enum Operation: String, Sendable, CaseIterable, CodingKeyRepresentable, Codable {
        case read, readRange, info, write, remove, list, multipart, check
    }

    /// Attempts that were sent, by what they were for.
    public var requests: [Operation: Int] = [:]
    /// How many of them were not the first of their request.
    public var retries = 0
    /// Bytes of bodies, sent and received.
    public var bytesSent: UInt64 = 0
    public var bytesReceived: UInt64 = 0
    /// From the last byte of each request to the first of its response, summed over all of them.
    public var waited = Duration.zero

    public var totalRequests: Int { requests.values.reduce(0, +) }

    public init() {}

    /// What was asked for since `earlier`, an older value of the same store's.
    public func since(_ earlier: S3Statistics) -> S3Statistics {
        var difference = self
        difference.requests = requests.merging(earlier.requests, uniquingKeysWith: -).filter { $0.value != 0 }
        difference.retries -= earlier.retries
        difference.bytesSent -= earlier.bytesSent
        difference.bytesReceived -= earlier.bytesReceived
        difference.waited -= earlier.waited
        return difference
    }
}
