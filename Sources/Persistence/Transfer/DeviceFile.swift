import Errors
import Glibc
import LinuxSystem
import SystemPackage

/// An open image file or block device, read and written at offsets.
final class DeviceFile: Sendable {
    let path: FilePath
    let sizeBytes: UInt64
    /// What direct transfers are a multiple of; 1 where the page cache is between.
    let alignment: Int
    private let isDevice: Bool
    /// Through the page cache; also for the end of a file that no direct transfer can reach.
    private let buffered: OpenFile
    private let direct: OpenFile?

    /// - Parameter create: the size of a new file to make.
    /// - Throws: `notFound`, `permissionDenied`, `failedPrecondition` (a device in use), `invalidArgument` (neither file
    ///   nor device), `unavailable`.
    init(path: FilePath, writable: Bool, direct wantsDirect: Bool, create: UInt64? = nil) throws {
        self.path = path
        var flags = writable ? O_RDWR : O_RDONLY
        if create != nil { flags |= O_CREAT | O_EXCL }
        let kind = create == nil ? try FileStatus.of(path)?.kind : .regular
        switch kind {
        case .regular?: isDevice = false
        case .blockDevice?: isDevice = true
        case nil: throw PerSSDError(.notFound, "there is no \(path)")
        default:
            throw PerSSDError(
                .invalidArgument, "\(path) is neither a file nor a block device",
                remedy: "name an image file or a block device")
        }
        // A device exclusively, so that nobody writes to what is mounted (open(2), O_EXCL).
        if isDevice, writable { flags |= O_EXCL }
        buffered = try OpenFile(path, flags)
        if let create { try buffered.truncate(toBytes: create) }
        sizeBytes = isDevice ? try BlockDevice.sizeBytes(path) : try buffered.status().sizeBytes
        // The first one holds the device already.
        let second = (writable ? O_RDWR : O_RDONLY) | OpenFile.directFlag
        direct = wantsDirect ? try OpenFile(path, second) : nil
        alignment = wantsDirect ? AlignedBuffer.alignment : 1
    }

    func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws {
        try check(offset, buffer.count, "read")
        let whole = buffer.count - buffer.count % alignment
        let head = UnsafeMutableRawBufferPointer(rebasing: buffer[..<whole])
        let tail = UnsafeMutableRawBufferPointer(rebasing: buffer[whole...])
        var done = try readHead(at: offset, into: head)
        if done == whole, !tail.isEmpty { done += try buffered.read(at: offset + UInt64(whole), into: tail) }
        guard done == buffer.count else {
            throw PerSSDError(
                .unavailable,
                "\(path) ends at \(offset + UInt64(done)), and had \(sizeBytes) bytes when it was opened")
        }
    }

    private func readHead(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        switch direct {
        case .some(let direct): try direct.read(at: offset, into: buffer)
        case .none: try buffered.read(at: offset, into: buffer)
        }
    }

    func write(at offset: UInt64, from buffer: UnsafeRawBufferPointer) throws {
        try check(offset, buffer.count, "write")
        let whole = buffer.count - buffer.count % alignment
        let head = UnsafeRawBufferPointer(rebasing: buffer[..<whole])
        switch direct {
        case .some(let direct): try direct.write(at: offset, from: head)
        case .none:
            try buffered.write(at: offset, from: head)
            // Else the drive would stay idle until the flush, as the kernel waits for a tenth of its memory to be written.
            if whole > 0 { try buffered.startWriting(offset..<offset + UInt64(whole)) }
        }
        if whole < buffer.count {
            let tail = UnsafeRawBufferPointer(rebasing: buffer[whole...])
            try buffered.write(at: offset + UInt64(whole), from: tail)
        }
    }

    /// One sync is for all that was written to the file or device, however it was opened.
    func flush() throws { try buffered.sync() }

    /// - Returns: false where neither file system nor device can.
    func punchHole(_ range: Range<UInt64>) throws -> Bool { try buffered.punchHole(range) }

    /// Where a file has data, by its file system; all of it where that cannot tell, and of a device.
    func dataRanges() throws -> [Range<UInt64>] {
        let all = sizeBytes == 0 ? [] : [0..<sizeBytes]
        guard !isDevice else { return all }
        var ranges: [Range<UInt64>] = []
        var position: UInt64 = 0
        do {
            while position < sizeBytes, let data = try buffered.firstData(from: position), data < sizeBytes {
                position = min(try buffered.firstHole(from: data), sizeBytes)
                ranges.append(data..<position)
            }
        } catch let error as PerSSDError where error.errno == .invalidArgument || error.errno == .notSupported {
            return all
        }
        return ranges
    }

    private func check(_ offset: UInt64, _ count: Int, _ verb: String) throws {
        guard offset <= sizeBytes, UInt64(count) <= sizeBytes - offset else {
            throw PerSSDError(
                .internal, "cannot \(verb) \(count) bytes at \(offset) of \(path), which has \(sizeBytes)")
        }
    }
}
