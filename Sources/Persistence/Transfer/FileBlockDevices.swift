import Errors
import Glibc
import SystemPackage

/// An image file or a block device as what a stage-out reads.
public final class FileBlockSource: BlockSource {
    private let file: DeviceFile

    /// Opens it for reading. Blocks.
    ///
    /// - Parameter direct: past the page cache, as is right for a device, or a large image that nobody reads again soon.
    /// - Throws: `notFound`, `permissionDenied`, `invalidArgument` where it is neither file nor device, `unavailable`.
    public init(path: FilePath, direct: Bool = false) throws {
        file = try DeviceFile(path: path, writable: false, direct: direct)
    }

    public var sizeBytes: UInt64 { file.sizeBytes }
    public var alignment: Int { file.alignment }

    public func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws {
        try file.read(at: offset, into: buffer)
    }

    public func allocatedRanges() throws -> [Range<UInt64>] {
        try file.dataRanges()
    }
}

/// An image file or a block device as what a restore writes.
public final class FileBlockSink: ReadableBlockSink {
    private static let zeros = [UInt8](repeating: 0, count: 1 << 20)

    private let file: DeviceFile

    /// Opens what is there. A device is opened exclusively. Blocks.
    ///
    /// - Throws: `notFound`, `permissionDenied`, `failedPrecondition` where a device is mounted or otherwise in use,
    ///   `invalidArgument` where it is neither file nor device, `unavailable`.
    public init(path: FilePath, direct: Bool = false) throws {
        file = try DeviceFile(path: path, writable: true, direct: direct)
    }

    /// Makes a new file of zeros, readable by its owner alone. Blocks.
    ///
    /// - Throws: `alreadyExists`, and as above.
    public init(creating path: FilePath, sizeBytes: UInt64, direct: Bool = false) throws {
        file = try DeviceFile(path: path, writable: true, direct: direct, create: sizeBytes)
    }

    public var sizeBytes: UInt64 { file.sizeBytes }
    public var alignment: Int { file.alignment }

    public func write(at offset: UInt64, from buffer: UnsafeRawBufferPointer) throws {
        try file.write(at: offset, from: buffer)
    }

    public func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws {
        try file.read(at: offset, into: buffer)
    }

    /// A hole where file system or device can make one that reads as zeros. Else what is zeros already is left alone, which
    /// keeps a thin volume thin, and the rest is overwritten.
    public func zero(_ range: Range<UInt64>) throws {
        guard !range.isEmpty, try !file.punchHole(range) else { return }
        let buffer = AlignedBuffer(count: Self.zeros.count)
        var position = range.lowerBound
        while position < range.upperBound {
            let count = Int(min(UInt64(Self.zeros.count), range.upperBound - position))
            let part = UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[..<count])
            try file.read(at: position, into: part)
            if !isZero(UnsafeRawBufferPointer(part)) {
                memset(part.baseAddress!, 0, count)
                try file.write(at: position, from: UnsafeRawBufferPointer(part))
            }
            position += UInt64(count)
        }
    }

    public func flush() throws { try file.flush() }
}
