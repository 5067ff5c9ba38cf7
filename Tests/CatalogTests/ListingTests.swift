import CatalogTestSupport
import Errors
import Foundation
import Testing

@testable import Persistence

@Suite struct ListingTests {
    let store = MemoryStore()
    var catalog: Catalog { Catalog(store: store) }

    @Test func pagesHoldLivingVolumesInOrder() async throws {
        var living: [VolumeID] = []
        for index in 0..<30 {
            let id = try await catalog.createVolume(newVolume("pvc-\(index)")).volume
            if index.isMultiple(of: 3) { try await catalog.deleteVolume(id) } else { living.append(id) }
        }
        store.overwrite("volumes/stray/file", [1])
        living.sort()
        for size in [1, 3, 7, 20, 100, Int.max] {
            var found: [VolumeID] = []
            var after: VolumeID?
            while true {
                let page = try await catalog.volumes(after: after, limit: size)
                #expect(page.count <= size)
                found += page.map(\.record.volume)
                guard let end = page.last else { break }
                after = end.record.volume
            }
            #expect(found == living, "pages of \(size)")
        }
        #expect(try await catalog.volumes(after: nil, limit: 0).isEmpty)
    }

    @Test func oneDamagedVolumeIsNotPassedOver() async throws {
        let id = try await catalog.createVolume(newVolume()).volume
        store.overwrite("volumes/\(id)/head.json", [0])
        await expectError(.corrupt, "\(id)") { _ = try await catalog.volumes(after: nil, limit: 10) }
    }

    // MARK: Nodes

    private func record(_ node: NodeReference) -> NodeRecord {
        NodeRecord(
            node: node,
            pools: [NodeRecord.PoolReport(name: "default", totalBytes: 100, freeBytes: 10, evictableBytes: 5)],
            startedAt: start, seenAt: start, interval: 30)
    }

    @Test func nodesAreThoseOfTheCluster() async throws {
        for name in ["n2", "n1", "n.3"] { try await catalog.save(record(node(name))) }
        try await catalog.save(record(node("n1", cluster: "c2")))
        try await catalog.save(record(node("n9", cluster: "d")))
        #expect(try await catalog.nodes(of: "c").map(\.node.node) == ["n.3", "n1", "n2"])
        #expect(try await catalog.nodes(of: "c2").map(\.node.node) == ["n1"])
        #expect(try await catalog.nodes(of: "nowhere").isEmpty)
        #expect(try await catalog.node(node("n1")) == record(node("n1")))
        #expect(try await catalog.node(node("n7")) == nil)
    }

    @Test func aNodesRecordIsReplaced() async throws {
        var changed = record(nodeA)
        try await catalog.save(changed)
        changed.seenAt = start + 30
        changed.pools[0].freeBytes = 1
        try await catalog.save(changed)
        #expect(try await catalog.node(nodeA) == changed)
        #expect(changed.pool("default")?.availableBytes == 6)
        #expect(changed.pool("other") == nil)
    }

    @Test func aNodeIsAliveForThreeIntervals() {
        let record = record(nodeA)
        #expect(record.isAlive(at: start))
        #expect(record.isAlive(at: start + 89))
        #expect(!record.isAlive(at: start + 90))
        // Its clock may be ahead.
        #expect(record.isAlive(at: start - 3600))
    }

    @Test(arguments: ["", "a/b", "..", ".", "a b", "ä", String(repeating: "n", count: 254), "a\0"])
    func badNamesAreNoNodes(_ name: String) {
        expectRefusal(.invalidArgument, "node name") { _ = try NodeReference(cluster: "c", node: name) }
        expectRefusal(.invalidArgument, "cluster name") { _ = try NodeReference(cluster: name, node: "n") }
    }

    @Test func manyAnswersKeepTheirOrder() async throws {
        let numbers = Array(0..<100)
        let answers = try await catalog.inOrder(numbers) { number -> Int? in
            for _ in 0..<Int.random(in: 0..<5) { await Task.yield() }
            return number.isMultiple(of: 7) ? nil : number
        }
        #expect(answers == numbers.filter { !$0.isMultiple(of: 7) })
        await expectError(.corrupt) {
            _ = try await catalog.inOrder(numbers) { number -> Int? in
                guard number != 50 else { throw PerSSDError(.corrupt, "fifty") }
                return number
            }
        }
    }
}
