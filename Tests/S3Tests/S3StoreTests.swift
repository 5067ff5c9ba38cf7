import Errors
import Foundation
import Persistence
import Testing
import TestSupport

/// What the store does on a real server, SeaweedFS, which honours conditions and checks signatures and checksums.
@Suite struct S3StoreTests {
    @Test func whatWasWrittenIsRead() async throws {
        let store = try await makeStore(on: SeaweedFS.shared())
        try await store.check()
        let bytes = someBytes(300_000)
        let tag = try await store.write(key("a/b"), bytes, condition: .none)
        let stored = try #require(try await store.read(key("a/b")))
        #expect(stored.bytes == bytes)
        #expect(stored.etag == tag)
        #expect(!tag.rawValue.contains("\""))
        let info = try #require(try await store.info(key("a/b")))
        #expect(info.size == 300_000 && info.etag == tag)
        #expect(abs(info.modified.timeIntervalSinceNow) < 60)
        #expect(try await store.read(key("a/none")) == nil)
        #expect(try await store.info(key("a/none")) == nil)
        try await store.remove(key("a/b"))
        #expect(try await store.read(key("a/b")) == nil)
        try await store.remove(key("a/b"))
    }

    @Test func rangesAreReadAndThoseThatReachPastTheEndAreRefused() async throws {
        let store = try await makeStore(on: SeaweedFS.shared())
        let bytes = someBytes(100_000)
        let object = try key("pack")
        _ = try await store.write(object, bytes, condition: .none)
        for range in [0..<1, 0..<100_000, 17..<70_001, 99_999..<100_000] as [Range<UInt64>] {
            let part = try await store.read(object, range: range)
            #expect(part == Array(bytes[Int(range.lowerBound)..<Int(range.upperBound)]))
        }
        #expect(try await store.read(object, range: 5..<5) == [])
        #expect(try await store.read(object, range: 100_000..<100_000) == [])
        #expect(try await store.read(key("none"), range: 0..<10) == nil)
        #expect(try await store.read(key("none"), range: 3..<3) == nil)
        for range in [99_999..<100_001, 100_000..<100_001, 500_000..<600_000, 100_001..<100_001] as [Range<UInt64>] {
            await expectError(.corrupt) { _ = try await store.read(object, range: range) }
        }
    }

    @Test func conditionsAreHonoured() async throws {
        let store = try await makeStore(on: SeaweedFS.shared())
        let head = try key("volumes/v1/head.json")
        let first = try await store.write(head, [1], condition: .absent)
        await expectError(.conflict) { _ = try await store.write(head, [2], condition: .absent) }
        let second = try await store.write(head, [3], condition: .matches(first))
        await expectError(.conflict) { _ = try await store.write(head, [4], condition: .matches(first)) }
        #expect(try await store.read(head)?.bytes == [3])
        let third = try await store.write(head, [5], condition: .matches(second))
        await expectError(.conflict) { _ = try await store.write(key("none"), [6], condition: .matches(third)) }
        #expect(try await store.read(key("none")) == nil)
        #expect(try await store.read(head)?.bytes == [5])
    }

    @Test func ofFiftyRacingWritersOneWins() async throws {
        let store = try await makeStore(on: SeaweedFS.shared()) { $0.maximumRequests = 50 }
        let base = try await store.write(key("head"), [0], condition: .absent)
        for condition in [WriteCondition.absent, .matches(base)] {
            let object = try key(condition == .absent ? "new" : "head")
            let winners = try await withThrowingTaskGroup(of: UInt8?.self) { group in
                for writer in 1...50 {
                    group.addTask {
                        do {
                            _ = try await store.write(object, [UInt8(writer)], condition: condition)
                            return UInt8(writer)
                        } catch let error as PerSSDError where error.code == .conflict {
                            return nil
                        }
                    }
                }
                return try await group.reduce(into: [UInt8]()) { if let winner = $1 { $0.append(winner) } }
            }
            #expect(winners.count == 1)
            #expect(try await store.read(object)?.bytes == winners)
        }
    }

    @Test func keysOfEveryAllowedFormWork() async throws {
        let store = try await makeStore(on: SeaweedFS.shared())
        let long = (0..<3).map { _ in String(repeating: "x", count: 200) }.joined(separator: "/")
        let paths = ["-", "_", "a..b", "...", ".hidden", "A/a", "a-b_c.d/E.F", "0", "trailing.", long]
        for path in paths { _ = try await store.write(key(path), Array(path.utf8), condition: .absent) }
        for path in paths { #expect(try await store.read(key(path))?.bytes == Array(path.utf8), "\(path)") }
        let listed = try await store.list(prefix: "", after: nil, limit: 100)
        #expect(listed.map(\.key.path) == paths.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) })
    }

    @Test func anEmptyObjectIsAnObject() async throws {
        let store = try await makeStore(on: SeaweedFS.shared())
        let tag = try await store.write(key("empty"), [], condition: .absent)
        #expect(try await store.read(key("empty"))?.bytes == [])
        #expect(try await store.info(key("empty"))?.size == 0)
        await expectError(.conflict) { _ = try await store.write(key("empty"), [], condition: .absent) }
        _ = try await store.write(key("empty"), [1], condition: .matches(tag))
    }

    @Test func requestsAndBytesAreCounted() async throws {
        let store = try await makeStore(on: SeaweedFS.shared())
        let before = store.statistics
        _ = try await store.write(key("a"), someBytes(5000), condition: .none)
        _ = try await store.read(key("a"))
        _ = try await store.read(key("a"), range: 0..<10)
        _ = try await store.info(key("a"))
        _ = try await store.list(prefix: "", after: nil, limit: 10)
        try await store.remove(key("a"))
        try await store.check()
        let used = store.statistics.since(before)
        #expect(
            used.requests == [.write: 1, .read: 1, .readRange: 1, .info: 1, .list: 1, .remove: 1, .check: 1])
        #expect(used.bytesSent == 5000)
        #expect(used.bytesReceived > 5010 && used.bytesReceived < 20_000)
        #expect(used.waited > .zero && used.retries == 0)
    }
}
