/// A point in time (google.protobuf.Timestamp).
public struct Timestamp: Sendable, Hashable, Comparable {
    /// Since 1970-01-01T00:00:00Z, leap seconds not counted.
    public var seconds: Int64
    /// Counted forward from `seconds`, 0 to 999,999,999.
    public var nanoseconds: Int32

    public init(seconds: Int64 = 0, nanoseconds: Int32 = 0) {
        (self.seconds, self.nanoseconds) = (seconds, nanoseconds)
    }

    public static func < (one: Timestamp, other: Timestamp) -> Bool {
        (one.seconds, one.nanoseconds) < (other.seconds, other.nanoseconds)
    }
}
