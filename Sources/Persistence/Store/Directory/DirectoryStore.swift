import Blocking
import Errors
import Foundation
import Synchronization

/// A store in a directory on a POSIX file system that all nodes share, or on a local one for a single machine.
///
/// An object is a file below the directory, written under another name, made durable (fsync(2)), and then published:
/// with link(2) where there must be none yet, with rename(2) else. Whoever replaces or removes an object holds its key's
/// lock meanwhile, which makes "replace if it is still this version" one step for all processes on all hosts.
///
/// The file system has to have hard links and file locks that hold between hosts: Lustre mounted with `-o flock`, NFS 4,
/// GPFS, CephFS; ext4, xfs and btrfs on one host. NFS clients have to be mounted with `lookupcache=none` or `positive`, so
/// that a new object is seen at once everywhere.
public final class DirectoryStore: ObjectStore {
    public let location: String
    let files: DirectoryFiles
    private let locks: DirectoryLocks
    private let threads = BlockingPool(label: "directory-store", maximumThreads: 32)
    private let counter = StoreStatisticsCounter()

    /// Temporary files of writers that died are kept this long, in seconds: no write takes so long.
    private static let temporaryAge = 24 * 3600

    /// Takes the directory as a store. An empty one is made a store; one that holds other things is refused.
    ///
    /// - Parameter location: `file:///directory`.
    /// - Throws: `invalidArgument` for a location that is no absolute path, `storeMissing` where there is no directory,
    ///   `failedPrecondition` where it cannot be a store, `unsupported` where a later version made it.
    public static func open(location: String) async throws -> DirectoryStore {
        try await open(directory: directory(ofLocation: location))
    }

    /// - Parameter directory: an absolute path.
    /// - Throws: as `open(location:)`.
    public static func open(directory: String) async throws -> DirectoryStore {
        guard directory.hasPrefix("/"), !directory.utf8.contains(0) else {
            throw PerSSDError(
                .invalidArgument, "'\(directory.prefix(200))' is no absolute path of a directory",
                remedy: "begin it with a slash")
        }
        let store = DirectoryStore(directory)
        try await store.run("cannot use \(store.location)") { files in
            try files.root.adopt()
            try files.tryWriting()
            try files.clearOldTemporaries(age: temporaryAge)
        }
        return store
    }

    private init(_ directory: String) {
        location = "file://" + (directory.addingPercentEncoding(withAllowedCharacters: .urlPathAllowed) ?? directory)
        let root = DirectoryRoot(path: directory)
        files = DirectoryFiles(root: root)
        locks = DirectoryLocks(root)
    }

    /// The path that a location names.
    ///
    /// - Throws: `invalidArgument` where it is no `file:///path`.
    public static func directory(ofLocation location: String) throws -> String {
        let remedy = "write file:///path, with three slashes"
        guard location.hasPrefix("file://") else {
            throw PerSSDError(
                .invalidArgument, "'\(location.prefix(200))' is no location of a directory", remedy: remedy)
        }
        let encoded = location.dropFirst("file://".count)
        guard encoded.hasPrefix("/"), !encoded.contains("?"), !encoded.contains("#") else {
            throw PerSSDError(
                .invalidArgument, "'\(location.prefix(200))' names a host, a query or a relative path", remedy: remedy)
        }
        guard var path = encoded.removingPercentEncoding, !path.utf8.contains(0) else {
            throw PerSSDError(
                .invalidArgument, "'\(location.prefix(200))' has a wrong percent encoding",
                remedy: "write a percent sign as %25")
        }
        while path.count > 1, path.hasSuffix("/") { path.removeLast() }
        return path
    }

    /// All requests up to now.
    public var statistics: StoreStatistics { counter.snapshot }

    public func read(_ key: ObjectKey) async throws -> StoredObject? {
        counter.add(.read)
        let object = try await run("cannot read \(key) in \(location)") { try $0.read(key) }
        counter.addReceived(object?.bytes.count ?? 0)
        return object
    }

    public func read(_ key: ObjectKey, range: Range<UInt64>) async throws -> [UInt8]? {
        counter.add(.readRange)
        let bytes = try await run("cannot read bytes \(range) of \(key) in \(location)") {
            try $0.read(key, range: range)
        }
        counter.addReceived(bytes?.count ?? 0)
        return bytes
    }

    public func info(_ key: ObjectKey) async throws -> ObjectInfo? {
        counter.add(.info)
        return try await run("cannot ask about \(key) in \(location)") { try $0.info(key) }
    }

    public func write(_ key: ObjectKey, _ bytes: [UInt8], condition: WriteCondition) async throws -> ETag {
        counter.add(.write)
        let action = "cannot write \(key) in \(location)"
        let file = try await run(action) { files in
            try files.validate(key)
            try files.requireHope(condition, for: key)
            return try files.prepare(bytes, for: key)
        }
        counter.addSent(bytes.count)
        do {
            try await locked(key, action) { try $0.publish(file, as: key, condition: condition) }
        } catch {
            await discard(file)
            throw error
        }
        return file.etag
    }

    public func remove(_ key: ObjectKey) async throws {
        counter.add(.remove)
        try await locked(key, "cannot remove \(key) in \(location)") { try $0.remove(key) }
    }

    public func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> [ObjectInfo] {
        counter.add(.list)
        return try await run("cannot list \(prefix.prefix(200)) in \(location)") { files in
            var found: [ObjectInfo] = []
            var last = after
            while found.count < limit {
                let keys = try files.keys(prefix: prefix, after: last, limit: limit - found.count)
                guard let end = keys.last else { break }
                last = end
                // One that has been removed meanwhile is left out, and the next taken in its place.
                for key in keys {
                    if let info = try files.info(key) { found.append(info) }
                }
            }
            return found
        }
    }

    public func listFolders(in folder: String, after: String?, limit: Int) async throws -> [String] {
        counter.add(.list)
        return try await run("cannot list the folders of \(folder.prefix(200)) in \(location)") {
            try $0.folderNames(in: folder, after: after, limit: limit)
        }
    }

    public func check() async throws {
        counter.add(.check)
        try await run("cannot use \(location)") { files in
            _ = try files.root.open()
            try files.tryWriting()
        }
    }

    // MARK: - Threads

    private func run<Value: Sendable>(
        _ action: @autoclosure () -> String, _ body: @escaping @Sendable (DirectoryFiles) throws -> Value
    ) async throws -> Value {
        do {
            try Task.checkCancellation()
            return try await threads.run { [files] in try body(files) }
        } catch {
            throw PerSSDError(wrapping: error, during: action())
        }
    }

    private func locked<Value: Sendable>(
        _ key: ObjectKey, _ action: @autoclosure () -> String,
        _ body: @escaping @Sendable (DirectoryFiles) throws -> Value
    ) async throws -> Value {
        do {
            return try await locks.withLock(key, on: threads) { [files] in try body(files) }
        } catch {
            throw PerSSDError(wrapping: error, during: action())
        }
    }

    /// Cancelled or not.
    private func discard(_ file: UnpublishedFile) async {
        try? await threads.run { [files] in files.discard(file) }
    }
}
