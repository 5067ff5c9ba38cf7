import Errors
import Foundation
import Persistence
import TestSupport
import Testing

/// On SeaweedFS, which lists folder by folder, and on RADOS Gateway, which goes by bytes as S3 does.
@Suite struct S3ListingTests {
    enum Server: CaseIterable {
        case seaweedFS, radosGateway

        func shared() async throws -> any S3Server {
            switch self {
            case .seaweedFS: try await SeaweedFS.shared()
            case .radosGateway: try await RadosGateway.shared()
            }
        }
    }

    private func fill(_ store: S3Store, _ paths: [String]) async throws {
        try await withThrowingTaskGroup { group in
            for path in paths {
                group.addTask { _ = try await store.write(key(path), Array(path.utf8), condition: .none) }
            }
            try await group.waitForAll()
        }
    }

    /// Keys whose order by bytes differs from that by folders.
    private let paths = [
        "p/a/y", "p/a/z/1", "p/a-b", "p/a-c/1", "p/a.b/1", "p/a0", "p/ab", "p/b/c/d", "p/b-/1", "p/B", "q", "p-/1",
    ]

    private func sorted(_ paths: [String]) -> [String] {
        paths.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }

    @Test(arguments: Server.allCases) func keysComeInTheOrderOfTheirBytes(_ server: Server) async throws {
        let store = try await makeStore(on: server.shared())
        try await fill(store, paths)
        for prefix in ["", "p", "p/", "p/a", "p/a/", "p/b", "nothing/"] {
            let expected = sorted(paths.filter { $0.hasPrefix(prefix) })
            for limit in [1, 2, 5, 1000] {
                var found: [ObjectInfo] = []
                while true {
                    let page = try await store.list(prefix: prefix, after: found.last?.key, limit: limit)
                    #expect(page.count <= limit)
                    found += page
                    if page.count < limit { break }
                }
                #expect(found.map(\.key.path) == expected, "prefix '\(prefix)', limit \(limit)")
                #expect(found.allSatisfy { $0.size == UInt64($0.key.path.utf8.count) })
            }
        }
        let one = try #require(try await store.list(prefix: "q", after: nil, limit: 10).first)
        let info = try #require(try await store.info(key("q")))
        #expect(one.etag == info.etag && abs(one.modified.timeIntervalSince(info.modified)) < 1)
        #expect(
            try await store.list(prefix: "p/", after: key("p/a-z"), limit: 2).map(\.key.path) == ["p/a.b/1", "p/a/y"])
    }

    @Test(arguments: Server.allCases) func foldersComeInTheOrderOfTheirNames(_ server: Server) async throws {
        let store = try await makeStore(on: server.shared())
        try await fill(store, paths)
        let names = ["a", "a-c", "a.b", "b", "b-"]
        #expect(try await store.listFolders(in: "", after: nil, limit: 10) == ["p", "p-"])
        for limit in 1...6 {
            var found: [String] = []
            while true {
                let page = try await store.listFolders(in: "p/", after: found.last, limit: limit)
                found += page
                if page.count < limit { break }
            }
            #expect(found == names, "limit \(limit)")
        }
        #expect(try await store.listFolders(in: "p/", after: "a-", limit: 2) == ["a-c", "a.b"])
        #expect(try await store.listFolders(in: "none/", after: nil, limit: 2) == [])
    }

    @Test func moreThanAThousandKeysArePaged() async throws {
        let store = try await makeStore(on: SeaweedFS.shared()) { $0.maximumRequests = 32 }
        let paths = (0..<1234).map { "packs/\(String(10000 + $0))" }
        try await fill(store, paths)
        let before = store.statistics
        #expect(try await store.list(prefix: "packs/", after: nil, limit: 5000).map(\.key.path) == paths)
        #expect(store.statistics.since(before).requests == [.list: 2])
        let rest = try await store.list(prefix: "packs/", after: key("packs/10100"), limit: 1100)
        #expect(rest.map(\.key.path) == Array(paths[101..<1201]))
    }
}
