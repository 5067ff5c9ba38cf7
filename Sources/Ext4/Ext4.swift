import CExt2FS
import Errors
import Foundation

/// What a directory of an ext4 says of one file.
public struct Ext4Entry: Sendable {
    public enum Kind: String, Sendable {
        case file, directory, link, fifo, socket, blockDevice, characterDevice, unknown
    }

    public var name: String
    public var kind: Kind
    /// The permissions, with set-user-ID and the like: 12 bits.
    public var permissions: UInt16
    public var user: UInt32
    public var group: UInt32
    public var links: UInt16
    public var sizeBytes: UInt64
    public var modifiedAt: Date
    /// What a symbolic link says.
    public var target: String?
    /// What changes with each change of the file.
    public var stamp: Stamp

    /// Of two states of a file system, a file with the same stamp is the same file, unchanged.
    public struct Stamp: Sendable, Hashable {
        var inode: UInt32
        /// Which life of the inode's number it is.
        var generation: UInt32
        var size: UInt64
        var modified: Time
        /// When anything of the inode last changed, which nobody can set.
        var changed: Time

        struct Time: Sendable, Hashable {
            var seconds: Int64
            var nanoseconds: UInt32
        }

        /// Whether it is the same file, whatever has become of it.
        func isSameFile(as other: Stamp) -> Bool { inode == other.inode && generation == other.generation }
    }
}

/// An ext4 (or ext2, or ext3) that is read from wherever its bytes come from, with no mount and no privileges, by e2fsprogs'
/// own library.
///
/// Calls block. Not for use by two threads at a time.
public final class Ext4 {
    /// Fills the buffer with the device's bytes from an offset.
    public typealias Read = (_ offset: UInt64, _ buffer: UnsafeMutableRawBufferPointer) throws -> Void

    private static let magic: [UInt8] = [0x53, 0xef]
    /// Where the magic number is on the device.
    private static let magicOffset = 1024 + 56
    private static let longestLink = 4096

    private let device: Device
    private let system: OpaquePointer

    /// Whether the first bytes of a device, 2 KiB or more, are those of an ext4.
    public static func isAtBeginning(of bytes: [UInt8]) -> Bool {
        bytes.count >= 2048 && Array(bytes[magicOffset..<magicOffset + 2]) == magic
    }

    /// - Throws: `corrupt` where there is none that can be read; what `read` throws.
    public init(sizeBytes: UInt64, read: @escaping Read) throws {
        let device = Device(read)
        var opened: OpaquePointer?
        let code = cext2fs_open(
            { context, offset, buffer, count in
                guard let context, let buffer else { return -1 }
                let device = Unmanaged<Device>.fromOpaque(context).takeUnretainedValue()
                return device.fill(UnsafeMutableRawBufferPointer(start: buffer, count: count), from: offset)
            }, Unmanaged.passUnretained(device).toOpaque(), sizeBytes, &opened)
        try device.check(code, "the ext4 cannot be opened")
        guard let opened else { throw PerSSDError(.internal, "libext2fs opened nothing") }
        self.device = device
        system = opened
    }

    deinit { cext2fs_close(system) }

    /// Whether it was in use when its device was copied: what is only in its journal is not seen here.
    public var needsRecovery: Bool { cext2fs_needs_recovery(system) != 0 }

    /// A file or directory by its path from the root. A symbolic link at its end is followed only where the path ends in a
    /// slash, as with ls.
    ///
    /// - Throws: `notFound` where there is none; `corrupt`; what the device throws.
    public func entry(at path: String) throws -> Ext4Entry {
        let name = path.split(separator: "/").last.map(String.init) ?? "/"
        return try entry(try inode(path, follow: path.hasSuffix("/")), name: name)
    }

    /// What is in a directory, in the order of the names, without "." and "..".
    ///
    /// - Throws: `notFound` where there is none; `failedPrecondition` where it is no directory; `corrupt`; what the device
    ///   throws.
    public func entries(of path: String) throws -> [Ext4Entry] {
        try entries(ofInode: try inode(path, follow: true), path)
    }

    /// The same, of a directory that was found.
    public func entries(in directory: Ext4Entry) throws -> [Ext4Entry] {
        try entries(ofInode: directory.stamp.inode, directory.name)
    }

    private func entries(ofInode directory: UInt32, _ path: String) throws -> [Ext4Entry] {
        let found = Names()
        let code = cext2fs_list(
            system, directory,
            { context, name, length, inode in
                guard let context, let name else { return 1 }
                let bytes = UnsafeRawBufferPointer(start: name, count: length)
                Unmanaged<Names>.fromOpaque(context).takeUnretainedValue().names.append(
                    (String(decoding: bytes, as: UTF8.self), inode))
                return 0
            }, Unmanaged.passUnretained(found).toOpaque())
        try check(code, path)
        return try found.names.filter { $0.name != "." && $0.name != ".." }.sorted { $0.name < $1.name }
            .map { try entry($0.inode, name: $0.name) }
    }

    /// Brings a file's contents to `deliver`, piece by piece. Symbolic links are followed.
    ///
    /// - Throws: `notFound` where there is none; `failedPrecondition` where it is no regular file; `corrupt`; what the device
    ///   and `deliver` throw.
    public func contents(of path: String, deliver: (UnsafeRawBufferPointer) throws -> Void) throws {
        let inode = try inode(path, follow: true)
        guard try entry(inode, name: path).kind == .file else {
            throw PerSSDError(.failedPrecondition, "\(path) is no regular file")
        }
        var file: OpaquePointer?
        try check(cext2fs_file_open(system, inode, &file), path)
        guard let file else { throw PerSSDError(.internal, "libext2fs opened nothing") }
        defer { cext2fs_file_close(file) }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
        defer { buffer.deallocate() }
        while true {
            var count: UInt32 = 0
            try check(cext2fs_file_read(file, buffer.baseAddress, UInt32(buffer.count), &count), path)
            guard count > 0 else { return }
            try deliver(UnsafeRawBufferPointer(rebasing: buffer[..<Int(count)]))
        }
    }

    /// Where on the device what a file holds is, in bytes, ascending by their place in the file; nil where it is kept with the
    /// file's attributes.
    ///
    /// - Throws: `corrupt`; what the device throws.
    func extents(of file: Ext4Entry) throws -> [Extent]? {
        let found = Extents(blockSize: UInt64(cext2fs_block_size(system)))
        let code = cext2fs_blocks(
            system, file.stamp.inode,
            { context, number, place in
                guard let context else { return 1 }
                Unmanaged<Extents>.fromOpaque(context).takeUnretainedValue().add(number, place)
                return 0
            }, Unmanaged.passUnretained(found).toOpaque())
        if cext2fs_is_inline(code) != 0 { return nil }
        try check(code, file.name)
        return found.extents
    }

    /// Bytes of the device.
    func bytes(_ range: Range<UInt64>) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: range.count)
        _ = bytes.withUnsafeMutableBytes { device.fill($0, from: range.lowerBound) }
        try device.checkReads()
        return bytes
    }

    struct Extent: Equatable {
        /// Where in the file.
        var offset: UInt64
        var place: Range<UInt64>
    }

    private final class Extents {
        let blockSize: UInt64
        var extents: [Extent] = []

        init(blockSize: UInt64) { self.blockSize = blockSize }

        func add(_ number: UInt64, _ block: UInt64) {
            let (offset, place) = (number * blockSize, block * blockSize)
            if let last = extents.last, last.place.upperBound == place,
                last.offset + UInt64(last.place.count) == offset
            {
                extents[extents.count - 1].place = last.place.lowerBound..<place + blockSize
            } else {
                extents.append(Extent(offset: offset, place: place..<place + blockSize))
            }
        }
    }

    private func inode(_ path: String, follow: Bool) throws -> UInt32 {
        var inode: UInt32 = 0
        try check(cext2fs_lookup(system, path.isEmpty ? "/" : path, follow ? 1 : 0, &inode), path)
        return inode
    }

    private func entry(_ inode: UInt32, name: String) throws -> Ext4Entry {
        var status = cext2fs_status()
        try check(cext2fs_status_of(system, inode, &status), name)
        let kind = Self.kind(status.mode)
        return Ext4Entry(
            name: name, kind: kind, permissions: status.mode & 0o7777, user: status.user, group: status.group,
            links: status.links, sizeBytes: status.size,
            modifiedAt: Date(timeIntervalSince1970: Double(status.modified)),
            target: kind == .link ? try target(inode, name) : nil,
            stamp: Ext4Entry.Stamp(
                inode: inode, generation: status.generation, size: status.size,
                modified: .init(seconds: status.modified, nanoseconds: status.modified_nanoseconds),
                changed: .init(seconds: status.changed, nanoseconds: status.changed_nanoseconds)))
    }

    private func target(_ inode: UInt32, _ name: String) throws -> String {
        var buffer = [CChar](repeating: 0, count: Self.longestLink)
        var length = 0
        try check(cext2fs_link_target(system, inode, &buffer, buffer.count, &length), name)
        return String(decoding: buffer[..<length].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    private static func kind(_ mode: UInt16) -> Ext4Entry.Kind {
        switch mode_t(mode) & S_IFMT {
        case S_IFREG: .file
        case S_IFDIR: .directory
        case S_IFLNK: .link
        case S_IFIFO: .fifo
        case S_IFSOCK: .socket
        case S_IFBLK: .blockDevice
        case S_IFCHR: .characterDevice
        default: .unknown
        }
    }

    private func check(_ code: Int, _ path: String) throws {
        try device.checkReads()
        if cext2fs_is_not_found(code) != 0 { throw PerSSDError(.notFound, "there is no file '\(path.prefix(1000))'") }
        if cext2fs_is_not_directory(code) != 0 {
            throw PerSSDError(.failedPrecondition, "'\(path.prefix(1000))' is, or leads through, what is no directory")
        }
        try device.check(code, "'\(path.prefix(1000))' cannot be read")
    }

    private final class Names {
        var names: [(name: String, inode: UInt32)] = []
    }

    /// Errors cannot pass through C: the first is kept until the library has returned.
    private final class Device {
        private let read: Read
        private var failure: (any Error)?

        init(_ read: @escaping Read) { self.read = read }

        func fill(_ buffer: UnsafeMutableRawBufferPointer, from offset: UInt64) -> Int32 {
            do {
                try read(offset, buffer)
                return 0
            } catch {
                failure = failure ?? error
                return -1
            }
        }

        /// A library that went on after an error of the device has seen what is not there.
        func checkReads() throws {
            defer { failure = nil }
            if let failure { throw failure }
        }

        func check(_ code: Int, _ what: String) throws {
            try checkReads()
            guard code != 0 else { return }
            throw PerSSDError(.corrupt, "\(what): \(String(cString: cext2fs_message(code)))")
        }
    }
}
