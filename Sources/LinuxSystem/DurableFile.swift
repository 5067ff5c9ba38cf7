import CLinux
import Errors
import Glibc
import SystemPackage

/// Small files that are there whole, in the old state or the new, after a crash at any point.
public enum DurableFile {
    /// What temporary files begin with; one that a kill left behind can be removed.
    public static let temporaryPrefix = ".perssd-tmp-"

    /// Writes `bytes` beside `path`, then puts them in its place. They are on stable storage when this returns.
    public static func write(_ bytes: [UInt8], to path: FilePath, mode: mode_t = 0o600) throws {
        let directory = path.removingLastComponent()
        let temporary = directory.appending(temporaryPrefix + randomName())
        do {
            let file = try OpenFile(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode: mode)
            try bytes.withUnsafeBytes { try file.write(at: 0, from: $0) }
            try file.sync()
            try rename(temporary, to: path)
        } catch {
            _ = try? removeIfThere(temporary)
            throw error
        }
    }

    /// The whole file; nil where there is none.
    ///
    /// - Throws: `corrupt` where it has more than `limit` bytes.
    public static func read(_ path: FilePath, limit: Int = 1 << 20) throws -> [UInt8]? {
        do {
            let file = try OpenFile(path, O_RDONLY)
            var failure: (any Error)?
            let bytes = [UInt8](unsafeUninitializedCapacity: limit + 1) { buffer, count in
                do { count = try file.read(at: 0, into: UnsafeMutableRawBufferPointer(buffer)) } catch {
                    failure = error
                }
            }
            if let failure { throw failure }
            guard bytes.count <= limit else {
                throw PerSSDError(.corrupt, "\(path) has more than the \(limit) bytes that such a file can have")
            }
            return bytes
        } catch let error as PerSSDError where error.errno == .noSuchFileOrDirectory {
            return nil
        }
    }

    /// Renames, replacing what is there, and waits until the directories say so durably.
    public static func rename(_ from: FilePath, to: FilePath) throws {
        try systemCall("rename \(from) to \(to)") {
            from.withPlatformString { from in to.withPlatformString { to in Glibc.rename(from, to) } }
        }
        try syncDirectories(of: from, to)
    }

    /// Renames to a name that must be free.
    ///
    /// - Throws: `alreadyExists` where it is not.
    public static func rename(_ from: FilePath, toNew to: FilePath) throws {
        try systemCall("rename \(from) to \(to)") {
            from.withPlatformString { from in to.withPlatformString { to in clinux_rename_new(from, to) } }
        }
        try syncDirectories(of: from, to)
    }

    private static func syncDirectories(of from: FilePath, _ to: FilePath) throws {
        let (source, target) = (from.removingLastComponent(), to.removingLastComponent())
        try syncDirectory(target)
        if source != target { try syncDirectory(source) }
    }

    /// Waits until the directory's entries are on stable storage.
    public static func syncDirectory(_ path: FilePath) throws {
        try OpenFile(path.isEmpty ? "." : path, O_RDONLY | O_DIRECTORY).sync()
    }

    /// Makes a directory that only its owner can enter; fine where there is one.
    public static func makeDirectory(_ path: FilePath, mode: mode_t = 0o700) throws {
        do {
            try systemCall("make the directory \(path)") { path.withPlatformString { mkdir($0, mode) } }
            try syncDirectory(path.removingLastComponent())
        } catch let error as PerSSDError where error.errno == .fileExists {
            guard try FileStatus.of(path)?.kind == .directory else {
                throw PerSSDError(.failedPrecondition, "\(path) has to be a directory", cause: error)
            }
        }
    }

    /// Removes a file (no directory); fine where there is none.
    ///
    /// - Returns: whether there was one.
    @discardableResult
    public static func removeIfThere(_ path: FilePath) throws -> Bool {
        do {
            try systemCall("remove \(path)") { path.withPlatformString { unlink($0) } }
            return true
        } catch let error as PerSSDError where error.errno == .noSuchFileOrDirectory {
            return false
        }
    }

    /// Removes an empty directory; fine where there is none.
    public static func removeDirectoryIfThere(_ path: FilePath) throws {
        do {
            try systemCall("remove the directory \(path)") { path.withPlatformString { rmdir($0) } }
        } catch let error as PerSSDError where error.errno == .noSuchFileOrDirectory {
            return
        }
    }

    /// The names in a directory but "." and "..", in ascending order.
    public static func names(in path: FilePath) throws -> [String] {
        guard let directory = path.withPlatformString({ opendir($0) }) else {
            throw PerSSDError(Errno(rawValue: errno), during: "list \(path)")
        }
        defer { closedir(directory) }
        var names: [String] = []
        while true {
            errno = 0
            guard let entry = readdir(directory) else {
                guard errno == 0 else { throw PerSSDError(Errno(rawValue: errno), during: "list \(path)") }
                return names.sorted()
            }
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != "." && name != ".." { names.append(name) }
        }
    }

    /// 16 digits and letters that no other name has.
    public static func randomName() -> String {
        let digits = String(UInt64.random(in: 0...UInt64.max), radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}
