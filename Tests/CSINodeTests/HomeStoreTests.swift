import Errors
import Foundation
import Persistence
import SystemPackage
import TestSupport
import Testing

@testable import CSINode

/// Volumes that look deleted, as the store is not the one that they are in.
@Suite struct HomeStoreTests {
    private let directory: TemporaryDirectory
    private let home: HomeStore

    init() throws {
        directory = try TemporaryDirectory()
        home = HomeStore(file: FilePath(directory + "store.json"))
    }

    private func store(_ name: String) async throws -> DirectoryStore {
        try FileManager.default.createDirectory(atPath: directory + name, withIntermediateDirectories: true)
        return try await DirectoryStore.open(directory: directory + name)
    }

    private func code(_ work: () async throws -> Void) async -> PerSSDError.Code? {
        do { try await work() } catch { return PerSSDError(wrapping: error).code }
        return nil
    }

    @Test func theStoreThatANodeHadIsTheOneItWants() async throws {
        let (first, second) = (try await store("first"), try await store("second"))
        try await home.settle(on: first, dirty: ["v"])
        try await home.settle(on: first, dirty: ["v"])
        try await home.requireSame(first)
        #expect(await code { try await home.settle(on: second, dirty: ["v", "w"]) } == .failedPrecondition)
        #expect(await code { try await home.requireSame(second) } == .unavailable)
        try await home.settle(on: first, dirty: ["v"])
        // All is committed.
        try await home.settle(on: second, dirty: [])
        try await home.requireSame(second)
        #expect(await code { try await home.requireSame(first) } == .unavailable)
    }

    @Test func aStoreThatWasEmptiedIsAnother() async throws {
        let store = try await store("store")
        try await home.settle(on: store, dirty: ["v"])
        for object in try await store.list(prefix: "", after: nil, limit: 10) { try await store.remove(object.key) }
        #expect(await code { try await home.requireSame(store) } == .unavailable)
        #expect(await code { try await home.settle(on: store, dirty: ["v"]) } == .failedPrecondition)
    }

    @Test func whatIsNoRecordIsNotTakenForOne() async throws {
        let store = try await store("store")
        for (text, expected) in [("{}", PerSSDError.Code.corrupt), (#"{"format": 2, "id": "x"}"#, .unsupported)] {
            try Data(text.utf8).write(to: URL(fileURLWithPath: home.file.string))
            #expect(await code { try await home.settle(on: store, dirty: []) } == expected)
        }
    }
}
