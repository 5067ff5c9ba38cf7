import CLinux
import Errors
import Glibc
import SystemPackage

/// The calls of a block device. Each opens it for the while.
public enum BlockDevice {
    /// - Throws: `failedPrecondition` where `path` is no block device.
    public static func number(of path: FilePath) throws -> DeviceNumber {
        guard let status = try FileStatus.of(path) else {
            throw PerSSDError(.notFound, "there is no device \(path)")
        }
        guard status.kind == .blockDevice else {
            throw PerSSDError(.failedPrecondition, "\(path) is no block device")
        }
        return status.deviceNumber
    }

    public static func sizeBytes(_ path: FilePath) throws -> UInt64 {
        let file = try OpenFile(path, O_RDONLY)
        var bytes: UInt64 = 0
        try systemCall("read the size of \(path)") { clinux_block_size(file.descriptor, &bytes) }
        return bytes
    }

    /// Waits until all that was written to the device is on stable storage.
    public static func flush(_ path: FilePath) throws {
        // Some kernels let nobody open a mounted device for writing, and a sync needs no more than this.
        try OpenFile(path, O_RDONLY).sync()
    }

    /// How much has been written to the device since it was made, in sectors of 512 bytes; it says whether anything was
    /// (Documentation/block/stat.rst of Linux).
    public static func writtenSectors(_ path: FilePath) throws -> UInt64 {
        let number = try number(of: path)
        let statistics = FilePath("/sys/dev/block/\(number.major):\(number.minor)/stat")
        let text = String(decoding: try DurableFile.read(statistics, limit: 4096) ?? [], as: UTF8.self)
        let fields = text.split(separator: " ")
        guard fields.count > 6, let sectors = UInt64(fields[6]) else {
            throw PerSSDError(.unavailable, "\(statistics) does not tell what was written to \(path)")
        }
        return sectors
    }

    /// Reads the first bytes from the device itself, past the page cache.
    ///
    /// - Throws: what the device says where it has failed or is gone.
    public static func probe(_ path: FilePath) throws {
        let file = try OpenFile(path, O_RDONLY | clinux_direct_flag())
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 4096)
        defer { buffer.deallocate() }
        guard try file.read(at: 0, into: buffer) == buffer.count else {
            throw PerSSDError(.unavailable, "\(path) ends before its first 4096 bytes")
        }
    }

    /// Writes the first bytes of a device that nobody uses as they are, to see whether it takes writes.
    ///
    /// - Throws: what the device says where it has failed, or is write-protected and does not tell.
    public static func probeWriting(_ path: FilePath) throws {
        let file = try OpenFile(path, O_RDWR | O_EXCL | clinux_direct_flag())
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 4096)
        defer { buffer.deallocate() }
        guard try file.read(at: 0, into: buffer) == buffer.count else {
            throw PerSSDError(.unavailable, "\(path) ends before its first 4096 bytes")
        }
        try file.write(at: 0, from: UnsafeRawBufferPointer(buffer))
        try file.sync()
    }

    /// What the device holds there is not wanted any more; what is read there afterwards depends on the device.
    public static func discard(_ path: FilePath, _ range: Range<UInt64>) throws {
        let file = try OpenFile(path, O_RDWR)
        try systemCall("discard \(range) of \(path)") {
            clinux_block_discard(file.descriptor, range.lowerBound, range.upperBound - range.lowerBound)
        }
    }

    /// Makes the range read as zeros, without writing them where the device can.
    public static func zero(_ path: FilePath, _ range: Range<UInt64>) throws {
        let file = try OpenFile(path, O_RDWR)
        try systemCall("zero \(range) of \(path)") {
            clinux_block_zero_out(file.descriptor, range.lowerBound, range.upperBound - range.lowerBound)
        }
    }

    public static func setReadOnly(_ path: FilePath, _ readOnly: Bool) throws {
        let file = try OpenFile(path, O_RDONLY)
        try systemCall("make \(path) read-\(readOnly ? "only" : "write")") {
            clinux_block_set_read_only(file.descriptor, readOnly ? 1 : 0)
        }
    }

    /// Whether a mount, or a program that wants it for itself, holds the device (open(2), O_EXCL).
    public static func isHeld(_ path: FilePath) throws -> Bool {
        do {
            _ = try OpenFile(path, O_RDONLY | O_EXCL)
            return false
        } catch let error as PerSSDError where error.errno == .resourceBusy {
            return true
        }
    }
}
