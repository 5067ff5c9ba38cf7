import Errors
import Persistence
import Synchronization

/// A store in front of another that counts calls, and fails those that a test chooses.
public final class FaultyStore: ObjectStore {
    public struct Calls: Sendable, Equatable {
        public var reads = 0
        public var writes = 0
        public var others = 0
        public var all: Int { reads + writes + others }
    }
    public enum Fault: Sendable {
        /// The call fails, and the object stays as it was.
        case before
        /// The call fails, yet the object was written.
        case after
        /// The call takes until its task is cancelled.
        case stuck
    }
    private struct State {
        var calls = Calls()
        var running = 0
        var mostRunning = 0
        var writeFaults: [Int: Fault] = [:]
        var readFaults: [Int: Fault] = [:]
    }
    private let base: any ObjectStore
    private let state = Mutex(State())

    public init(_ base: any ObjectStore) { self.base = base }

    public var location: String { base.location }
    public var calls: Calls { state.withLock { $0.calls } }
    /// Calls under way at this moment.
    public var running: Int { state.withLock { $0.running } }
    public var mostRunning: Int { state.withLock { $0.mostRunning } }

    public func resetCalls() { state.withLock { $0.calls = Calls() } }

    /// - Parameter number: counted from 0, since `resetCalls`.
    public func failWrite(_ number: Int, _ fault: Fault) { state.withLock { $0.writeFaults[number] = fault } }
    public func failRead(_ number: Int, _ fault: Fault) { state.withLock { $0.readFaults[number] = fault } }
    public func heal() {
        state.withLock {
            $0.writeFaults = [:]
            $0.readFaults = [:]
        }
    }

    public func read(_ key: ObjectKey) async throws -> StoredObject? {
        try await reading { try await base.read(key) }
    }

    public func read(_ key: ObjectKey, range: Range<UInt64>) async throws -> [UInt8]? {
        try await reading { try await base.read(key, range: range) }
    }

    public func info(_ key: ObjectKey) async throws -> ObjectInfo? {
        try await reading { try await base.info(key) }
    }

    public func write(_ key: ObjectKey, _ bytes: [UInt8], condition: WriteCondition) async throws -> ETag {
        let fault = state.withLock { state in
            defer { state.calls.writes += 1 }
            return state.writeFaults[state.calls.writes]
        }
        return try await call(fault) { try await base.write(key, bytes, condition: condition) }
    }

    public func remove(_ key: ObjectKey) async throws { try await other { try await base.remove(key) } }

    public func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> [ObjectInfo] {
        try await other { try await base.list(prefix: prefix, after: after, limit: limit) }
    }

    public func listFolders(in folder: String, after: String?, limit: Int) async throws -> [String] {
        try await other { try await base.listFolders(in: folder, after: after, limit: limit) }
    }

    public func check() async throws { try await other { try await base.check() } }

    private func reading<Value>(_ body: () async throws -> Value) async throws -> Value {
        let fault = state.withLock { state in
            defer { state.calls.reads += 1 }
            return state.readFaults[state.calls.reads]
        }
        return try await call(fault, body)
    }

    private func other<Value>(_ body: () async throws -> Value) async throws -> Value {
        state.withLock { $0.calls.others += 1 }
        return try await call(nil, body)
    }

    private func call<Value>(_ fault: Fault?, _ body: () async throws -> Value) async throws -> Value {
        state.withLock {
            $0.running += 1
            $0.mostRunning = max($0.mostRunning, $0.running)
        }
        defer { state.withLock { $0.running -= 1 } }
        switch fault {
        case nil: return try await body()
        case .before: throw Self.failure
        case .after:
            _ = try await body()
            throw Self.failure
        case .stuck:
            try await Task.sleep(for: .seconds(3600))
            throw Self.failure
        }
    }

    public static let failure = PerSSDError(.unavailable, "the store does not answer, as the test wants it")
}
