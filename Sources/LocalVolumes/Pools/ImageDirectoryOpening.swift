import Errors
import Foundation
import LinuxSystem
import SystemPackage

/// How a directory becomes a pool, and how it is known again.
extension ImageDirectory {
    struct Opened {
        var directory: ImageDirectory
        var lock: FileLock
        /// Of the directory itself, to notice when it is mounted over or exchanged.
        var status: FileStatus
    }

    /// Takes the pool in `path` for this process; makes it where the directory is empty or missing.
    ///
    /// - Throws: `failedPrecondition` where another process uses it, or it holds files but no pool.
    static func open(_ path: FilePath) throws -> Opened {
        guard path.isAbsolute else {
            throw PerSSDError(
                .invalidArgument, "the pool's directory '\(path)' is not an absolute path", remedy: "begin it with '/'")
        }
        if try FileStatus.of(path) == nil { try DurableFile.makeDirectory(path) }
        let root = try realPath(of: path)
        guard let status = try FileStatus.of(root), status.kind == .directory else {
            throw PerSSDError(.failedPrecondition, "the pool's directory \(path) is no directory")
        }
        try refuseForeignFiles(root)
        let lock = try FileLock(root.appending("lock"))
        try DurableFile.syncDirectory(root)
        try readOrWriteIdentity(root)
        for name in ["volumes", "new", "trash"] { try DurableFile.makeDirectory(root.appending(name)) }
        for name in try DurableFile.names(in: root) where name.hasPrefix(DurableFile.temporaryPrefix) {
            try DurableFile.removeIfThere(root.appending(name))
        }
        let directory = ImageDirectory(root: root, canShareBlocks: try probeSharing(root))
        return Opened(directory: directory, lock: lock, status: status)
    }

    /// Where `path` leads once all links are followed.
    private static func realPath(of path: FilePath) throws -> FilePath {
        try OpenFile(place: path, followingLink: true, mustBeDirectory: true).currentPath()
    }

    private static func refuseForeignFiles(_ root: FilePath) throws {
        let names = try DurableFile.names(in: root)
        if names.contains("pool.json") { return }
        // What the beginning of a pool looks like after a kill, and what mkfs puts into each ext4.
        let expected = ["lock", "lost+found"]
        if let name = names.first(where: { !expected.contains($0) && !$0.hasPrefix(DurableFile.temporaryPrefix) }) {
            throw PerSSDError(
                .failedPrecondition, "the directory \(root) holds '\(name)', but no pool of PerSSD",
                remedy: "name an empty directory, or one that does not exist yet")
        }
    }

    private struct Identity: Codable {
        var format: Int
        var kind: String
        var id: String
    }

    private static func readOrWriteIdentity(_ root: FilePath) throws {
        let path = root.appending("pool.json")
        guard let bytes = try DurableFile.read(path) else {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
            let identity = Identity(format: 1, kind: "images", id: DurableFile.randomName() + DurableFile.randomName())
            return try DurableFile.write([UInt8](try encoder.encode(identity)), to: path)
        }
        let identity: Identity
        do {
            identity = try JSONDecoder().decode(Identity.self, from: Data(bytes))
        } catch {
            throw PerSSDError(
                .corrupt, "\(path) does not describe a pool", remedy: "put back the file that was there", cause: error)
        }
        guard identity.format == 1, identity.kind == "images" else {
            throw PerSSDError(
                .unsupported,
                "\(path) describes a pool of kind '\(identity.kind.prefix(40))' in format \(identity.format); this version "
                    + "knows kind 'images' in format 1",
                remedy: "run the version of PerSSD that made the pool, or a later one")
        }
    }

    /// Tries whether files can share blocks here.
    private static func probeSharing(_ root: FilePath) throws -> Bool {
        let original = root.appending(DurableFile.temporaryPrefix + DurableFile.randomName())
        let copy = root.appending(DurableFile.temporaryPrefix + DurableFile.randomName())
        defer {
            _ = try? DurableFile.removeIfThere(original)
            _ = try? DurableFile.removeIfThere(copy)
        }
        let file = try OpenFile(original, O_RDWR | O_CREAT | O_EXCL)
        try [UInt8](repeating: 1, count: 65536).withUnsafeBytes { try file.write(at: 0, from: $0) }
        do {
            try Reflink.clone(original, to: copy)
            return true
        } catch let error as PerSSDError where error.code == .unsupported {
            return false
        }
    }
}
