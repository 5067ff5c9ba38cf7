import Blocking
import CLinux
import Digests
import Errors
import Foundation
import LinuxSystem
import SystemPackage

/// All that a directory tree holds, so that two trees can be compared: contents, owners, modes, times, links and
/// extended attributes.
struct TreeManifest: Sendable, Equatable {
    struct Entry: Sendable, Equatable {
        /// File type and permissions, as stat(2) has them.
        var mode: UInt32
        var owner: UInt32
        var group: UInt32
        /// Seconds and nanoseconds.
        var modified: [Int]
        /// Of files only.
        var size: Int64?
        var digest: Digest?
        /// Of symbolic links only.
        var linkTarget: String?
        /// Of device files only.
        var device: UInt64?
        /// The first path, in order, of the same file; its own where it has but one name.
        var firstName: String
        var attributes: [String: [UInt8]]
    }

    /// By path, relative to the tree's root, which is ".".
    private(set) var entries: [String: Entry] = [:]

    var files: Int { entries.values.count { $0.mode & S_IFMT == S_IFREG } }
    /// Of files, each counted once however many names it has.
    var bytes: UInt64 {
        entries.reduce(0) { $0 + ($1.key == $1.value.firstName ? UInt64($1.value.size ?? 0) : 0) }
    }

    /// Reads the whole tree.
    static func of(_ root: String) async throws -> TreeManifest {
        try await BlockingPool.shared.run {
            var manifest = TreeManifest()
            var names: [String: String] = [:]
            try manifest.visit(root, ".", &names)
            return manifest
        }
    }

    /// What differs in `other`, in the order of paths: "./a/b: modified differs".
    func differences(to other: TreeManifest) -> [String] {
        Set(entries.keys).union(other.entries.keys).sorted().flatMap { path -> [String] in
            guard let mine = entries[path] else { return ["\(path): is new"] }
            guard let theirs = other.entries[path] else { return ["\(path): is missing"] }
            return mine.differences(to: theirs).map { "\(path): \($0) differs" }
        }
    }

    private mutating func visit(_ root: String, _ path: String, _ names: inout [String: String]) throws {
        let full = path == "." ? root : root + path.dropFirst()
        var status = stat()
        try systemCall("look at \(full)") { lstat(full, &status) }
        let kind = status.st_mode & S_IFMT
        var firstName = path
        if kind != S_IFDIR, status.st_nlink > 1 {
            let file = "\(status.st_dev) \(status.st_ino)"
            firstName = names[file] ?? path
            names[file] = firstName
        }
        var entry = Entry(
            mode: status.st_mode, owner: status.st_uid, group: status.st_gid,
            modified: [status.st_mtim.tv_sec, status.st_mtim.tv_nsec], firstName: firstName,
            attributes: try Self.attributes(of: full))
        switch kind {
        case S_IFREG:
            entry.size = Int64(status.st_size)
            entry.digest = firstName == path ? try Self.digest(of: full) : entries[firstName]?.digest
        case S_IFLNK: entry.linkTarget = try Self.target(of: full)
        case S_IFCHR, S_IFBLK: entry.device = UInt64(status.st_rdev)
        default: break
        }
        entries[path] = entry
        guard kind == S_IFDIR else { return }
        for name in try DurableFile.names(in: FilePath(full)).sorted() {
            try visit(root, "\(path)/\(name)", &names)
        }
    }

    private static func digest(of path: String) throws -> Digest {
        let file = try OpenFile(FilePath(path), O_RDONLY | O_NOFOLLOW)
        let hash = SHA256Stream()
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 16)
        defer { buffer.deallocate() }
        var offset: UInt64 = 0
        while true {
            let count = try file.read(at: offset, into: buffer)
            if count == 0 { return hash.finish() }
            hash.update(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
            offset += UInt64(count)
        }
    }

    private static func target(of path: String) throws -> String {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = try systemCall("read the link \(path)") { readlink(path, &buffer, buffer.count) }
        return String(decoding: buffer.prefix(Int(count)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    private static func attributes(of path: String) throws -> [String: [UInt8]] {
        let length: Int
        do {
            length = try systemCall("list the attributes of \(path)") { llistxattr(path, nil, 0) }
        } catch let error as PerSSDError where error.errno == .notSupported {
            return [:]
        }
        guard length > 0 else { return [:] }
        var list = [CChar](repeating: 0, count: length)
        let listed = try systemCall("list the attributes of \(path)") { llistxattr(path, &list, list.count) }
        let names = list.prefix(listed).split(separator: 0).map {
            String(decoding: $0.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
        var attributes: [String: [UInt8]] = [:]
        for name in names {
            var value = [UInt8](repeating: 0, count: 64 << 10)
            let size = try systemCall("read the attribute \(name) of \(path)") {
                lgetxattr(path, name, &value, value.count)
            }
            attributes[name] = [UInt8](value.prefix(size))
        }
        return attributes
    }
}

extension TreeManifest.Entry {
    func differences(to other: Self) -> [String] {
        var names: [String] = []
        if mode != other.mode { names.append("mode") }
        if owner != other.owner || group != other.group { names.append("owner") }
        if modified != other.modified { names.append("time") }
        if size != other.size { names.append("size") }
        if digest != other.digest { names.append("contents") }
        if linkTarget != other.linkTarget || firstName != other.firstName { names.append("link") }
        if device != other.device { names.append("device number") }
        if attributes != other.attributes { names.append("extended attributes") }
        return names
    }
}
