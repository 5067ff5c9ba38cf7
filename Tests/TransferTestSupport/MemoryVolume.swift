import Errors
import Persistence
import Synchronization

/// A volume in memory, as source and as sink; it notes what was done to it.
public final class MemoryVolume: BlockSource, ReadableBlockSink {
    private struct State {
        var bytes: [UInt8]
        var reads: [Range<UInt64>] = []
        var writes: [Range<UInt64>] = []
        var zeroed: [Range<UInt64>] = []
        var isFlushed = false
        var failure: PerSSDError?
    }
    private let state: Mutex<State>
    public let sizeBytes: UInt64
    public let alignment = 1
    /// Whether `allocatedRanges` leaves out 4 KiB pages of zeros, as a sparse file does.
    private let isSparse: Bool

    public init(_ bytes: [UInt8], isSparse: Bool = true) {
        state = Mutex(State(bytes: bytes))
        sizeBytes = UInt64(bytes.count)
        self.isSparse = isSparse
    }

    public var bytes: [UInt8] { state.withLock { $0.bytes } }
    public var reads: [Range<UInt64>] { state.withLock { $0.reads } }
    public var writes: [Range<UInt64>] { state.withLock { $0.writes } }
    public var zeroed: [Range<UInt64>] { state.withLock { $0.zeroed } }
    /// Whether all that was written has been flushed since.
    public var isFlushed: Bool { state.withLock { $0.isFlushed } }

    /// Every call fails from now on.
    public func fail(with error: PerSSDError) { state.withLock { $0.failure = error } }

    public func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws {
        try state.withLock { state in
            if let failure = state.failure { throw failure }
            let range = Int(offset)..<Int(offset) + buffer.count
            state.reads.append(UInt64(range.lowerBound)..<UInt64(range.upperBound))
            state.bytes.withUnsafeBytes { buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[range])) }
        }
    }

    public func allocatedRanges() throws -> [Range<UInt64>] {
        guard isSparse else { return [0..<sizeBytes] }
        let page = 4096
        return state.withLock { state in
            var ranges: [Range<UInt64>] = []
            for start in stride(from: 0, to: state.bytes.count, by: page) {
                let end = min(start + page, state.bytes.count)
                guard state.bytes[start..<end].contains(where: { $0 != 0 }) else { continue }
                if let last = ranges.last, last.upperBound == UInt64(start) {
                    ranges[ranges.count - 1] = last.lowerBound..<UInt64(end)
                } else {
                    ranges.append(UInt64(start)..<UInt64(end))
                }
            }
            return ranges
        }
    }

    public func write(at offset: UInt64, from buffer: UnsafeRawBufferPointer) throws {
        try change(Int(offset)..<Int(offset) + buffer.count) { state, range in
            state.writes.append(UInt64(range.lowerBound)..<UInt64(range.upperBound))
            state.bytes.withUnsafeMutableBytes {
                UnsafeMutableRawBufferPointer(rebasing: $0[range]).copyMemory(from: buffer)
            }
        }
    }

    public func zero(_ range: Range<UInt64>) throws {
        try change(Int(range.lowerBound)..<Int(range.upperBound)) { state, range in
            state.zeroed.append(UInt64(range.lowerBound)..<UInt64(range.upperBound))
            state.bytes.withUnsafeMutableBytes {
                _ = UnsafeMutableRawBufferPointer(rebasing: $0[range]).initializeMemory(as: UInt8.self, repeating: 0)
            }
        }
    }

    public func flush() throws {
        try state.withLock {
            if let failure = $0.failure { throw failure }
            $0.isFlushed = true
        }
    }

    private func change(_ range: Range<Int>, _ body: (inout State, Range<Int>) -> Void) throws {
        try state.withLock { state in
            if let failure = state.failure { throw failure }
            guard range.upperBound <= state.bytes.count else {
                throw PerSSDError(.internal, "\(range) is outside of the volume")
            }
            state.isFlushed = false
            body(&state, range)
        }
    }
}
