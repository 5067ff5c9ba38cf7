import CGRPC

/// A handle of CGRPC's. Its functions may be called from any thread; when it dies is for its owner to keep track of.
struct Handle: @unchecked Sendable {
    let pointer: OpaquePointer

    init(_ pointer: OpaquePointer) { self.pointer = pointer }
}

extension Array where Element == UInt8 {
    /// Lends the bytes to C.
    func withCBytes<Result>(_ body: (cgrpc_bytes) throws -> Result) rethrows -> Result {
        try withUnsafeBufferPointer { try body(cgrpc_bytes(bytes: $0.baseAddress, count: $0.count)) }
    }

    /// Copies what C lends.
    init(_ bytes: cgrpc_bytes) { self.init(UnsafeBufferPointer(start: bytes.bytes, count: bytes.count)) }

    /// Copies a message that gRPC received.
    init(message: OpaquePointer) {
        let size = cgrpc_message_size(message)
        guard size > 0 else {
            self = []
            return
        }
        self.init(unsafeUninitializedCapacity: size) { buffer, count in
            guard let start = buffer.baseAddress else { return }
            count = cgrpc_message_copy(message, start, size)
        }
    }
}

extension String {
    /// Copies what C lends; what is not UTF-8 is repaired.
    init(_ bytes: cgrpc_bytes) {
        self.init(decoding: UnsafeBufferPointer(start: bytes.bytes, count: bytes.count), as: UTF8.self)
    }

    func withCBytes<Result>(_ body: (cgrpc_bytes) throws -> Result) rethrows -> Result {
        try Array(utf8).withCBytes(body)
    }
}

/// Lends metadata to C.
func withCEntries<Result>(
    _ metadata: RPCMetadata, _ body: (UnsafePointer<cgrpc_entry>?, Int) throws -> Result
) rethrows -> Result {
    guard !metadata.isEmpty else { return try body(nil, 0) }
    // All bytes in one array, so that one pointer holds them all.
    let bytes = metadata.flatMap { Array($0.key.utf8) + $0.value }
    return try bytes.withUnsafeBufferPointer { buffer in
        var offset = 0
        func take(_ count: Int) -> cgrpc_bytes {
            defer { offset += count }
            return cgrpc_bytes(bytes: buffer.baseAddress.map { $0 + offset }, count: count)
        }
        let entries = metadata.map { entry in
            let key = take(entry.key.utf8.count)
            return cgrpc_entry(key: key, value: take(entry.value.count))
        }
        return try entries.withUnsafeBufferPointer { try body($0.baseAddress, $0.count) }
    }
}

extension Duration {
    /// Whole nanoseconds; what does not fit is the largest or smallest number that does.
    var nanoseconds: Int64 {
        let (seconds, attoseconds) = components
        let (product, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        let (sum, overflowAgain) = product.addingReportingOverflow(attoseconds / 1_000_000_000)
        return overflow || overflowAgain ? (seconds < 0 ? .min : .max) : sum
    }
}
