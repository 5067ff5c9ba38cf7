import Errors
import Persistence
import Testing

/// What every store has to do, on every kind of store.
@Suite struct StoreConformanceTests {
    @Test(arguments: StoreKind.allCases)
    func whatIsNotThereReadsAsNothing(_ kind: StoreKind) async throws {
        let made = try await kind.make()
        let store = made.store
        defer { withExtendedLifetime(made) {} }
        #expect(try await store.read("no/such")?.bytes == nil)
        #expect(try await store.read("no/such", range: 0..<10) == nil)
        #expect(try await store.info("no/such") == nil)
        try await store.remove("no/such")
        #expect(try await store.list(prefix: "no/", after: nil, limit: 10).isEmpty)
        #expect(try await store.listFolders(in: "no/", after: nil, limit: 10).isEmpty)
        try await store.check()
    }

    @Test(arguments: StoreKind.allCases)
    func objectsComeBackWholeAndInRanges(_ kind: StoreKind) async throws {
        let made = try await kind.make()
        let store = made.store
        defer { withExtendedLifetime(made) {} }
        for size in [0, 1, 4096, 1 << 20, (1 << 20) + 1, 5 << 20] {
            let key = try ObjectKey("data/\(size)")
            let bytes = pattern(size)
            let tag = try await store.write(key, bytes, condition: .none)
            let object = try #require(try await store.read(key))
            #expect(object.bytes == bytes)
            let info = try #require(try await store.info(key))
            #expect(object.etag == tag && info.etag == tag && info.size == UInt64(size))
            #expect(abs(info.modified.timeIntervalSinceNow) < 300)
            // Times differ by what a listing and an answer of HTTP round away.
            let listed = try #require(try await store.list(prefix: key.path, after: nil, limit: 1).first)
            #expect(listed.key == key && listed.etag == tag && listed.size == info.size)
            if size >= 4096 {
                #expect(try await store.read(key, range: 0..<100) == Array(bytes[..<100]))
                #expect(try await store.read(key, range: 1000..<3001) == Array(bytes[1000..<3001]))
                #expect(try await store.read(key, range: UInt64(size - 1)..<UInt64(size)) == [bytes[size - 1]])
            }
            #expect(try await store.read(key, range: 0..<0) == [])
            let past = UInt64(size)..<UInt64(size + 1)
            #expect(await code { try await store.read(key, range: past) } == .corrupt)
            let across = UInt64(size / 2)..<UInt64(size + 10)
            #expect(await code { try await store.read(key, range: across) } == .corrupt)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func conditionsHoldAndAFailedWriteChangesNothing(_ kind: StoreKind) async throws {
        let made = try await kind.make()
        let store = made.store
        defer { withExtendedLifetime(made) {} }
        let key: ObjectKey = "volumes/v/head.json"
        let one = try await store.write(key, [1], condition: .absent)
        #expect(await code { try await store.write(key, [2], condition: .absent) } == .conflict)
        #expect(try await store.read(key)?.bytes == [1])

        let two = try await store.write(key, [2], condition: .matches(one))
        #expect(two != one)
        #expect(await code { try await store.write(key, [3], condition: .matches(one)) } == .conflict)
        #expect(try await store.read(key)?.bytes == [2])

        let three = try await store.write(key, [3], condition: .none)
        #expect(await code { try await store.write(key, [4], condition: .matches(two)) } == .conflict)
        #expect(try await store.info(key)?.etag == three)

        try await store.remove(key)
        #expect(await code { try await store.write(key, [5], condition: .matches(three)) } == .conflict)
        #expect(try await store.read(key)?.bytes == nil)
        _ = try await store.write(key, [6], condition: .absent)
        #expect(try await store.read(key)?.bytes == [6])
    }

    @Test(arguments: StoreKind.allCases)
    func listingsAreInByteOrderAndCanBePaged(_ kind: StoreKind) async throws {
        let made = try await kind.make()
        let store = made.store
        defer { withExtendedLifetime(made) {} }
        // A slash sorts between "." and "0".
        let paths = [
            "list/B", "list/a-b", "list/a.b", "list/a/1", "list/a/2/x", "list/a/2/y", "list/a/3", "list/a0",
            "list/ab/z",
            "list/b", "list/c/1",
        ]
        for path in paths.shuffled() + ["lisa/1", "listen/1"] {
            _ = try await store.write(try ObjectKey(path), [1], condition: .none)
        }
        for limit in [1, 2, 3, 5, 100] {
            var pages: [ObjectKey] = []
            while true {
                let page = try await store.list(prefix: "list/", after: pages.last, limit: limit)
                #expect(page.count <= limit)
                pages += page.map(\.key)
                if page.isEmpty || pages.count > 100 { break }
            }
            #expect(pages.map(\.path) == paths)
        }
        let inA = try await store.list(prefix: "list/a", after: nil, limit: 100).map(\.key.path)
        #expect(inA == paths.filter { $0.hasPrefix("list/a") })
        // Keys that are not there are places to go on from as well.
        let after = try await store.list(prefix: "list/", after: "list/a/2/xx", limit: 2).map(\.key.path)
        #expect(after == ["list/a/2/y", "list/a/3"])
        let afterFolder = try await store.list(prefix: "list/", after: "list/a/9", limit: 1).map(\.key.path)
        #expect(afterFolder == ["list/a0"])
        #expect(try await store.list(prefix: "list/", after: "list/c/1", limit: 1).isEmpty)
    }

    @Test(arguments: StoreKind.allCases)
    func foldersAreListedWhileTheyHoldSomething(_ kind: StoreKind) async throws {
        let made = try await kind.make()
        let store = made.store
        defer { withExtendedLifetime(made) {} }
        for path in ["volumes/c/d/e/f", "volumes/a/1", "volumes/a/2", "volumes/b-1/1", "volumes/file"] {
            _ = try await store.write(try ObjectKey(path), [1], condition: .none)
        }
        #expect(try await store.listFolders(in: "volumes/", after: nil, limit: 10) == ["a", "b-1", "c"])
        #expect(try await store.listFolders(in: "volumes/", after: nil, limit: 2) == ["a", "b-1"])
        #expect(try await store.listFolders(in: "volumes/", after: "b-1", limit: 2) == ["c"])
        #expect(try await store.listFolders(in: "volumes/c/", after: nil, limit: 2) == ["d"])
        try await store.remove("volumes/c/d/e/f")
        #expect(try await store.list(prefix: "volumes/c/", after: nil, limit: 10).isEmpty)
        // SeaweedFS shows a folder for a while after its last object has gone.
        let left = try await store.listFolders(in: "volumes/", after: nil, limit: 10)
        #expect(left == ["a", "b-1"] || kind == .seaweedFS && left == ["a", "b-1", "c"])
    }

    @Test(arguments: StoreKind.allCases)
    func theStorePassesTheSelfTestWhichLeavesNothing(_ kind: StoreKind) async throws {
        let made = try await kind.make()
        let store = made.store
        defer { withExtendedLifetime(made) {} }
        try await verifyConditionalWrites(on: store)
        #expect(try await store.list(prefix: "selftest/", after: nil, limit: 10).isEmpty)
    }
}
