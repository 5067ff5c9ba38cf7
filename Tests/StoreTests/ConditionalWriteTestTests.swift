import Errors
import Foundation
import Persistence
import Synchronization
import TestSupport
import Testing

/// Stores that do not keep their promises are refused.
@Suite struct ConditionalWriteTestTests {
    @Test func rcloneIsRefusedWithReasonAndCure() async throws {
        let server = try await RcloneS3.shared()
        let store = try makeS3Store(server, bucket: try await server.makeBucket())
        let error = try #require(await failure { try await verifyConditionalWrites(on: store) })
        #expect(error.code == .failedPrecondition)
        #expect(error.description.contains(store.location))
        #expect(error.description.contains("'If-None-Match: *'"))
        #expect(error.description.contains("data would be lost"))
        #expect(error.description.contains("SeaweedFS") && error.description.contains("Lustre"))
        #expect(try await store.list(prefix: "selftest/", after: nil, limit: 10).isEmpty)
    }

    @Test(arguments: [
        (Flaw.ignoresAbsent, "'If-None-Match: *'"), (.ignoresMatches, "'If-Match'"),
        (.overwritesButSaysConflict, "'If-Match'"), (.refusesEveryTag, "'If-Match'"),
        (.saysExists, "'If-None-Match: *'"),
        (.checksThenWrites, "'If-Match'"), (.readsOld, "newest write"), (.doesNotKnowConditions, "refuses the header"),
    ])
    func everyFlawIsFoundAndNothingStays(_ flaw: Flaw, _ words: String) async throws {
        let directory = try TemporaryDirectory()
        let honest = try await DirectoryStore.open(directory: directory.path)
        let store = FlawedStore(honest, flaw)
        let error = try #require(await failure { try await verifyConditionalWrites(on: store) })
        #expect(error.code == .failedPrecondition)
        #expect(error.description.contains(words), "\(error)")
        #expect(try await honest.list(prefix: "selftest/", after: nil, limit: 10).isEmpty)
    }

    @Test func itCostsEightRequests() async throws {
        let directory = try TemporaryDirectory()
        let store = try await DirectoryStore.open(location: "file://\(directory.path)")
        try await verifyConditionalWrites(on: store)
        #expect(store.statistics.requests == [.write: 6, .read: 1, .remove: 1])
    }

    @Test func aCancelledTestRemovesItsObject() async throws {
        let directory = try TemporaryDirectory()
        let honest = try await DirectoryStore.open(directory: directory.path)
        let store = FlawedStore(honest, .hangsAfterTheFirstWrite)
        let task = Task { try await verifyConditionalWrites(on: store) }
        while try await honest.list(prefix: "selftest/", after: nil, limit: 1).isEmpty {
            try await Task.sleep(for: .milliseconds(5))
        }
        task.cancel()
        #expect(await code { try await task.value } == .cancelled)
        #expect(try await honest.list(prefix: "selftest/", after: nil, limit: 1).isEmpty)
    }
}

@Suite struct StoreIdentityTests {
    @Test func itIsMadeOnceAndStays() async throws {
        let directory = try TemporaryDirectory()
        let store = try await DirectoryStore.open(directory: directory.path)
        let first = try await StoreIdentity.establish(in: store)
        #expect(first.id.utf8.count == 32)
        #expect(try await StoreIdentity.establish(in: store) == first)
        #expect(store.statistics.requests == [.read: 2, .write: 1])
    }

    @Test(arguments: [
        (#"{"format": "perssd-store", "version": 2, "kind": "new"}"#, PerSSDError.Code.unsupported, "version 2"),
        (#"{"format": "perssd-head", "version": 1}"#, .corrupt, "perssd-head"),
        (#"{"format": "perssd-store", "version": 1, "id": "x", "createdAt": "2026-01-01T00:00:00Z"}"#, .corrupt, "'x'"),
        (#"{"format": "perssd-store", "ver"#, .corrupt, "perssd.json"), ("", .corrupt, "perssd.json"),
    ])
    func whatIsDamagedOrFromTheFutureIsRefused(
        _ text: String, _ code: PerSSDError.Code, _ words: String
    ) async throws {
        let directory = try TemporaryDirectory()
        let store = try await DirectoryStore.open(directory: directory.path)
        _ = try await store.write("perssd.json", Array(text.utf8), condition: .none)
        let error = try #require(await failure { try await StoreIdentity.establish(in: store) })
        #expect(error.code == code)
        #expect(error.description.contains(words) && error.description.contains(directory.path), "\(error)")
        // Never overwritten.
        #expect(try await store.read("perssd.json")?.bytes == Array(text.utf8))
    }
}

enum Flaw: Sendable {
    case ignoresAbsent, ignoresMatches, overwritesButSaysConflict, refusesEveryTag, saysExists, checksThenWrites
    case readsOld, doesNotKnowConditions, hangsAfterTheFirstWrite
}

/// A real store behind something that breaks one promise.
final class FlawedStore: ObjectStore {
    private let inner: DirectoryStore
    private let flaw: Flaw
    private let first = Mutex<StoredObject?>(nil)

    init(_ inner: DirectoryStore, _ flaw: Flaw) { (self.inner, self.flaw) = (inner, flaw) }

    var location: String { "flawed " + inner.location }

    func write(_ key: ObjectKey, _ bytes: [UInt8], condition: WriteCondition) async throws -> ETag {
        switch (flaw, condition) {
        case (.ignoresAbsent, .absent), (.ignoresMatches, .matches):
            return try await inner.write(key, bytes, condition: .none)
        case (.overwritesButSaysConflict, .absent):
            let existed = try await inner.info(key) != nil
            let tag = try await inner.write(key, bytes, condition: .none)
            if existed { throw PerSSDError(.conflict, "it exists") }
            return tag
        case (.refusesEveryTag, .matches), (.saysExists, .absent): throw PerSSDError(.conflict, "no")
        case (.checksThenWrites, .matches(let tag)):
            guard try await inner.info(key)?.etag == tag else { throw PerSSDError(.conflict, "changed") }
            try await Task.sleep(for: .milliseconds(50))
            return try await inner.write(key, bytes, condition: .none)
        case (.doesNotKnowConditions, .absent): throw PerSSDError(.unsupported, "501 Not Implemented")
        case (.hangsAfterTheFirstWrite, .absent):
            let tag = try await inner.write(key, bytes, condition: condition)
            try await Task.sleep(for: .seconds(60))
            return tag
        default:
            let tag = try await inner.write(key, bytes, condition: condition)
            first.withLock { if $0 == nil { $0 = StoredObject(bytes: bytes, etag: tag) } }
            return tag
        }
    }

    func read(_ key: ObjectKey) async throws -> StoredObject? {
        flaw == .readsOld ? first.withLock { $0 } : try await inner.read(key)
    }

    func read(_ key: ObjectKey, range: Range<UInt64>) async throws -> [UInt8]? {
        try await inner.read(key, range: range)
    }
    func info(_ key: ObjectKey) async throws -> ObjectInfo? { try await inner.info(key) }
    func remove(_ key: ObjectKey) async throws { try await inner.remove(key) }
    func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> [ObjectInfo] {
        try await inner.list(prefix: prefix, after: after, limit: limit)
    }
    func listFolders(in folder: String, after: String?, limit: Int) async throws -> [String] {
        try await inner.listFolders(in: folder, after: after, limit: limit)
    }
    func check() async throws { try await inner.check() }
}
