import Errors

/// What a stage-out reads: an image or a device that nobody writes while it is read.
///
/// The calls block; transfers make them on threads of their own.
public protocol BlockSource: Sendable {
    var sizeBytes: UInt64 { get }
    /// What buffers and offsets must be a multiple of; a power of two, at most 4096.
    var alignment: Int { get }
    /// Fills `buffer` with the bytes from `offset`. The range lies within `sizeBytes`.
    func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws
    /// The parts that may hold anything but zeros, ascending and apart; the rest reads as zeros. Everything, where the
    /// source cannot tell.
    func allocatedRanges() throws -> [Range<UInt64>]
}

/// What a restore writes: an image or a device that nobody else touches meanwhile.
public protocol BlockSink: Sendable {
    var sizeBytes: UInt64 { get }
    var alignment: Int { get }
    func write(at offset: UInt64, from buffer: UnsafeRawBufferPointer) throws
    /// Makes `range` read as zeros, and gives its space back where the device can.
    func zero(_ range: Range<UInt64>) throws
    /// What was written is on stable storage when this returns.
    func flush() throws
}

/// A sink whose own contents a restore may build upon.
public protocol ReadableBlockSink: BlockSink {
    /// Fills `buffer` with the bytes from `offset`. The range lies within `sizeBytes`.
    func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws
}

/// What a stage-out has to look at.
public enum ChangedRanges: Sendable, Equatable {
    /// Nobody knows what changed: read all that is allocated, and compare by hash with the parent.
    case unknown
    /// Outside of these, ascending and apart, the source is as its parent generation.
    case only([Range<UInt64>])
}

/// How far a transfer is. Read from anywhere while it runs.
public struct TransferProgress: Sendable, Equatable {
    /// Bytes of the volume looked at, of those that have to be.
    public var doneBytes: UInt64
    public var totalBytes: UInt64
    /// Bytes moved to or from the store.
    public var transferredBytes: UInt64

    public init(doneBytes: UInt64 = 0, totalBytes: UInt64 = 0, transferredBytes: UInt64 = 0) {
        (self.doneBytes, self.totalBytes, self.transferredBytes) = (doneBytes, totalBytes, transferredBytes)
    }
}
