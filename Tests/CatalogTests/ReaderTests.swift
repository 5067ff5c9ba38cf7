import CatalogTestSupport
import Errors
import Testing

@testable import Persistence

/// Who may read a volume that many nodes may read, and what.
@Suite struct ReaderTests {
    let store = MemoryStore()
    let clock = TestClock()
    let manyNodes = Lease.Publication(accessMode: "MULTI_NODE_READER_ONLY", accessType: "mount", readOnly: true)

    private var catalog: Catalog { Catalog(store: store, now: { [clock] in clock.now }) }

    private func volume(_ name: String = "pvc-1", generations: Int = 1) async throws -> VolumeListing {
        let id = try await catalog.createVolume(newVolume(name)).volume
        for _ in 0..<generations { try await catalog.commitOne(id) }
        return try await catalog.volume(id)
    }

    private func read(_ listing: VolumeListing, by node: NodeReference) async throws -> UInt64 {
        try await catalog.beginReading(listing, by: node, as: manyNodes).generation.number
    }

    @Test func eachNodeReadsWhatWasNewestWhenItBegan() async throws {
        let listing = try await volume()
        #expect(try await read(listing, by: nodeA) == 1)
        try await catalog.commitOne(listing.record.volume)
        #expect(try await read(listing, by: nodeB) == 2)
        #expect(try await read(listing, by: nodeA) == 1)
        #expect(try await catalog.readers(of: listing.record.volume).count == 2)
        try await catalog.removeReaders(nodeA, of: listing.record.volume)
        #expect(try await read(listing, by: nodeA) == 2)
    }

    @Test func nobodyBeginsToReadWhileAnotherWrites() async throws {
        let listing = try await volume()
        let id = listing.record.volume
        _ = try await catalog.updateHead(id) { try $0.granting(to: nodeA, as: readWrite, now: start) }
        await expectError(.failedPrecondition, "c/a", "granted") { _ = try await read(listing, by: nodeB) }
        await expectError(.alreadyExists, "for writing") { _ = try await read(listing, by: nodeA) }
        let head = try await catalog.commitOne(id, closing: false)
        await expectError(.failedPrecondition, "c/a", "open") { _ = try await read(listing, by: nodeB) }
        // Closed, all of it is committed, whoever holds the lease.
        _ = try await catalog.updateHead(id) { try $0.closing(by: nodeA, epoch: head.epoch, now: start) }
        #expect(try await read(listing, by: nodeB) == 2)
        await expectError(.alreadyExists, "for writing") { _ = try await read(listing, by: nodeA) }
    }

    @Test func aWriterMayBeginWhileOthersRead() async throws {
        let listing = try await volume()
        _ = try await read(listing, by: nodeB)
        #expect(try await catalog.commitOne(listing.record.volume).newest?.number == 2)
        #expect(try await read(listing, by: nodeB) == 1)
    }

    @Test func whatWasNeverWrittenCannotBeRead() async throws {
        let listing = try await volume(generations: 0)
        await expectError(.failedPrecondition, "never been written") { _ = try await read(listing, by: nodeA) }
        #expect(!store.keys.contains { $0.hasPrefix("readers/") })
    }

    @Test func anotherWayOnTheSameNodeIsRefused() async throws {
        let listing = try await volume()
        _ = try await read(listing, by: nodeA)
        let block = Lease.Publication(accessMode: "MULTI_NODE_READER_ONLY", accessType: "block", readOnly: true)
        await expectError(.alreadyExists, "mount MULTI_NODE_READER_ONLY, read-only") {
            _ = try await catalog.beginReading(listing, by: nodeA, as: block)
        }
    }

    @Test func aReaderOfAFormerLifeIsNone() async throws {
        let old = try await volume()
        _ = try await read(old, by: nodeA)
        let id = old.record.volume
        await expectError(.failedPrecondition, "node c/a reads generation 1") { try await catalog.deleteVolume(id) }
        // Its node has not been heard of for so long that it does not count.
        clock.advance(7 * 86_400 + 1)
        try await catalog.deleteVolume(id)
        let new = try await volume(generations: 0)
        #expect(try await catalog.reader(of: new, on: nodeA) == nil)
        await expectError(.failedPrecondition, "never been written") { _ = try await read(new, by: nodeA) }
        try await catalog.commitOne(id)
        #expect(try await catalog.beginReading(new, by: nodeA, as: nil).incarnation == new.record.incarnation)
        try await catalog.removeReaders(nodeA, of: id)
        try await catalog.deleteVolume(id)
    }

    @Test func aNodeTakesAwayOnlyWhatItWroteItself() async throws {
        let listing = try await volume()
        let id = listing.record.volume
        _ = try await read(listing, by: nodeA)
        _ = try await catalog.beginReading(listing, by: nodeB, as: nil)
        for node in [nodeA, nodeB] { try await catalog.removeReaders(node, of: id, onlyOwn: true) }
        #expect(try await catalog.readers(of: id).map(\.node) == [nodeA])
        _ = try await catalog.beginReading(listing, by: node("other", cluster: "d"), as: manyNodes)
        try await catalog.removeReaders(cluster: "c", of: id)
        #expect(try await catalog.readers(of: id).map(\.node.cluster) == ["d"])
    }

    @Test func aGenerationThatExpiresMeanwhileIsNotRead() async throws {
        let listing = try await volume(generations: 2)
        let newest = try #require(listing.head.newest)
        let record = try await catalog.generation(newest)
        let parent = try #require(record.parent)
        try await catalog.expire(parent, kept: [newest], phase: .idle)
        await expectError(.notFound, "expired") {
            try await catalog.addReader(
                nodeA, of: listing.record.volume, listing.record.incarnation, lineage: listing.record.lineage,
                generation: parent)
        }
        #expect(!store.keys.contains { $0.hasPrefix("readers/") })
    }

    @Test func whoReadsIsListedByThePage() async throws {
        var listings: [VolumeListing] = []
        for index in 0..<5 { listings.append(try await volume("pvc-\(index)")) }
        listings.sort { $0.record.volume < $1.record.volume }
        for listing in listings {
            for name in ["b", "a"] { _ = try await read(listing, by: node(name)) }
            _ = try await read(listing, by: node("theirs", cluster: "d"))
        }
        let ids = listings.map(\.record.volume)
        for page in [ids[1...3], ids[4...4], ids[0...0], ids[0...4]] {
            let found = try await catalog.readingNodes(of: Array(page), cluster: "c")
            for id in page { #expect(found[id] == ["a", "b"]) }
        }
        #expect(try await catalog.readingNodes(of: [], cluster: "c").isEmpty)
    }
}
