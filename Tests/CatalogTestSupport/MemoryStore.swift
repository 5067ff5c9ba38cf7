import Digests
import Errors
import Foundation
import Persistence
import Synchronization

/// An object store in memory that keeps the contract, and lets a test come between any two of its steps.
public final class MemoryStore: ObjectStore {
    /// One call of the store.
    public struct Call: Sendable, Hashable {
        public enum Operation: String, Sendable { case read, info, write, remove, list, listFolders, check }
        public var operation: Operation
        /// The key, prefix or folder; empty for `check`.
        public var path: String
    }

    /// Comes before or after a call has its effect. What it throws, the call throws; it may use the store itself, and is
    /// not called for that.
    public typealias Hook = @Sendable (Call) async throws -> Void

    private struct Object {
        var bytes: [UInt8]
        var etag: ETag
        var modified: Date
    }

    private struct State {
        var objects: [String: Object] = [:]
        var writes = 0
        var calls: [Call] = []
        var before: Hook?
        var after: Hook?
    }

    private let state = Mutex(State())
    @TaskLocal private static var isInHook = false

    /// - Parameter clock: says when objects were written; without one that was long ago.
    public init(clock: TestClock? = nil) { self.clock = clock }

    private let clock: TestClock?
    private var time: Date { clock?.now ?? .distantPast }

    public let location = "memory:"

    /// All calls so far, but those of hooks.
    public var calls: [Call] { state.withLock { $0.calls } }
    public var keys: [String] { state.withLock { $0.objects.keys.sorted() } }

    public func forgetCalls() { state.withLock { $0.calls = [] } }

    public func intervene(before: Hook? = nil, after: Hook? = nil) {
        state.withLock { ($0.before, $0.after) = (before, after) }
    }

    /// Changes an object behind everybody's back.
    public func overwrite(_ path: String, _ bytes: [UInt8]?) {
        state.withLock { state in
            state.writes += 1
            let tag = ETag("\(state.writes)")
            state.objects[path] = bytes.map { Object(bytes: $0, etag: tag, modified: time) }
        }
    }

    public func bytes(_ path: String) -> [UInt8]? { state.withLock { $0.objects[path]?.bytes } }

    private func perform<Value: Sendable>(
        _ operation: Call.Operation, _ path: String, _ body: @Sendable (inout State) throws -> Value
    ) async throws -> Value {
        let call = Call(operation: operation, path: path)
        guard !Self.isInHook else { return try state.withLock { try body(&$0) } }
        let (before, after) = state.withLock { state in
            state.calls.append(call)
            return (state.before, state.after)
        }
        try await Self.$isInHook.withValue(true) { try await before?(call) }
        let value = try state.withLock { try body(&$0) }
        try await Self.$isInHook.withValue(true) { try await after?(call) }
        return value
    }

    public func read(_ key: ObjectKey) async throws -> StoredObject? {
        try await perform(.read, key.path) { state in
            state.objects[key.path].map { StoredObject(bytes: $0.bytes, etag: $0.etag) }
        }
    }

    public func read(_ key: ObjectKey, range: Range<UInt64>) async throws -> [UInt8]? {
        try await perform(.read, key.path) { state in
            guard let object = state.objects[key.path] else { return nil }
            guard range.upperBound <= UInt64(object.bytes.count) else {
                throw PerSSDError(.corrupt, "\(key) ends before byte \(range.upperBound)")
            }
            return Array(object.bytes[Int(range.lowerBound)..<Int(range.upperBound)])
        }
    }

    public func info(_ key: ObjectKey) async throws -> ObjectInfo? {
        try await perform(.info, key.path) { state in try state.objects[key.path].map { try Self.info(key.path, $0) } }
    }

    public func write(_ key: ObjectKey, _ bytes: [UInt8], condition: WriteCondition) async throws -> ETag {
        try await perform(.write, key.path) { state in
            let standing = state.objects[key.path]
            let holds =
                switch condition {
                case .none: true
                case .absent: standing == nil
                case .matches(let etag): standing?.etag == etag
                }
            guard holds else { throw PerSSDError(.conflict, "\(key) is not as expected") }
            state.writes += 1
            let etag = ETag("\(state.writes)")
            state.objects[key.path] = Object(bytes: bytes, etag: etag, modified: self.time)
            return etag
        }
    }

    public func remove(_ key: ObjectKey) async throws {
        try await perform(.remove, key.path) { state in state.objects[key.path] = nil }
    }

    public func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> [ObjectInfo] {
        try await perform(.list, prefix) { state in
            let keys = state.objects.keys.filter { $0.hasPrefix(prefix) && (after == nil || $0 > after?.path ?? "") }
            return try keys.sorted().prefix(limit).compactMap { key in
                try state.objects[key].map { try Self.info(key, $0) }
            }
        }
    }

    public func listFolders(in folder: String, after: String?, limit: Int) async throws -> [String] {
        try await perform(.listFolders, folder) { state in
            let names = state.objects.keys.compactMap { key -> String? in
                let rest = key.dropFirst(folder.count)
                guard key.hasPrefix(folder), let slash = rest.firstIndex(of: "/") else { return nil }
                return String(rest[..<slash])
            }
            return Array(Set(names).filter { after == nil || $0 > after ?? "" }.sorted().prefix(limit))
        }
    }

    public func check() async throws { try await perform(.check, "") { _ in } }

    private static func info(_ path: String, _ object: Object) throws -> ObjectInfo {
        ObjectInfo(
            key: try ObjectKey(path), size: UInt64(object.bytes.count), etag: object.etag, modified: object.modified)
    }
}
