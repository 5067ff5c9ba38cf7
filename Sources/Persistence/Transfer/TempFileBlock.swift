import Errors
import Glibc
import SystemPackage

public final class FileBlockSource: BlockSource, @unchecked Sendable {
    let fd: Int32
    public let sizeBytes: UInt64
    public let alignment = 1
    public init(path: FilePath) throws {
        fd = open(path.string, O_RDONLY)
        guard fd >= 0 else { throw PerSSDError(.notFound, "cannot open \(path)") }
        sizeBytes = UInt64(lseek(fd, 0, SEEK_END))
    }
    deinit { close(fd) }
    public func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws {
        var done = 0
        while done < buffer.count {
            let n = pread(fd, buffer.baseAddress! + done, buffer.count - done, off_t(offset) + off_t(done))
            guard n > 0 else { throw PerSSDError(.unavailable, "read") }
            done += n
        }
    }
    public func allocatedRanges() throws -> [Range<UInt64>] {
        var ranges: [Range<UInt64>] = []
        var at: off_t = 0
        while true {
            let start = lseek(fd, at, 3)
            if start < 0 { return ranges }
            let end = lseek(fd, start, 4)
            ranges.append(UInt64(start)..<UInt64(end))
            at = end
        }
    }
}
public final class FileBlockSink: BlockSink, @unchecked Sendable {
    let fd: Int32
    public let sizeBytes: UInt64
    public let alignment = 1
    public init(path: FilePath) throws {
        fd = open(path.string, O_RDWR)
        guard fd >= 0 else { throw PerSSDError(.notFound, "cannot open \(path)") }
        sizeBytes = UInt64(lseek(fd, 0, SEEK_END))
    }
    deinit { close(fd) }
    public func write(at offset: UInt64, from buffer: UnsafeRawBufferPointer) throws {
        guard pwrite(fd, buffer.baseAddress, buffer.count, off_t(offset)) == buffer.count else {
            throw PerSSDError(.unavailable, "write")
        }
    }
    public func zero(_ range: Range<UInt64>) throws {
        let zeros = [UInt8](repeating: 0, count: 1 << 16)
        var at = range.lowerBound
        while at < range.upperBound {
            let n = min(UInt64(zeros.count), range.upperBound - at)
            _ = pwrite(fd, zeros, Int(n), off_t(at))
            at += n
        }
    }
    public func flush() throws { guard fsync(fd) == 0 else { throw PerSSDError(.unavailable, "fsync") } }
}
