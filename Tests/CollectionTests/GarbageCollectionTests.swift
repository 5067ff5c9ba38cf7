import CatalogTestSupport
import Errors
import Foundation
import Testing
import TransferTestSupport

@testable import Persistence

@Suite struct GarbageCollectionTests {
    let bucket: Bucket
    var catalog: Catalog { bucket.catalog }

    init() throws { bucket = try Bucket() }

    @Test func whatRetentionDoesNotKeepGoesInTwoSteps() async throws {
        let id = try await bucket.create("v")
        let first = try await bucket.commit(id, contents(1, 2, 3, 4, 5, 6, 7, 8))
        let second = try await bucket.commit(id, contents(11, 12, 13, 14, 15, 16, 17, 18))

        let condemning = try await bucket.collect()
        #expect(condemning.condemned.generations.map(\.reference) == [first])
        #expect(condemning.condemned.generations.map(\.reason) == ["not kept by the volume's retention"])
        #expect(condemning.condemned.packs.isEmpty)
        #expect(condemning.removed.isEmpty)
        #expect(condemning.lineages[0].kept[second] == "v: its newest")
        #expect(condemning.lineages[0].volumes == ["v"])

        // Within the grace period nothing happens.
        bucket.clock.advance(Bucket.grace - 10)
        let waiting = try await bucket.collect()
        #expect(waiting.waiting.generations.map(\.reference) == [first])
        #expect(try await bucket.isHeld(first))

        bucket.clock.advance(20)
        let removing = try await bucket.collect()
        #expect(removing.removed.generations.map(\.reference) == [first])
        #expect(!(try await bucket.isHeld(first)))
        #expect(bucket.packs.count == 2)

        // Only now nothing reaches its pack.
        let packs = try await bucket.collectLater()
        #expect(packs.condemned.packs.count == 1)
        let gone = try await bucket.collectLater()
        #expect(gone.removed.packs == packs.condemned.packs)
        #expect(gone.removed.packBytes > 0)
        #expect(bucket.packs.count == 1)
        #expect(try await bucket.contents(second) == Shape.bytes(contents(11, 12, 13, 14, 15, 16, 17, 18)))
        #expect(try await bucket.collectLater().condemned.isEmpty)
    }

    @Test func aPlanSaysAllAndChangesNothing() async throws {
        let id = try await bucket.create("v")
        let first = try await bucket.commit(id, contents(1))
        try await bucket.commit(id, contents(2))
        let keys = bucket.store.keys
        var plan = try await bucket.collection().plan()
        #expect(plan.condemned.generations.map(\.reference) == [first])
        #expect(bucket.store.keys == keys)
        try await bucket.collect()
        bucket.clock.advance(Bucket.grace + 60)
        let standing = bucket.store.keys
        plan = try await bucket.collection().plan()
        #expect(plan.removed.generations.map(\.reference) == [first])
        #expect(bucket.store.keys == standing)
        #expect(try await bucket.collect().removed.generations.map(\.reference) == [first])
    }

    @Test func blocksThatLaterGenerationsShareStay() async throws {
        let id = try await bucket.create("v")
        try await bucket.commit(id, contents(1, 2, 3))
        let second = try await bucket.commit(id, contents(1, 2, 9))
        for _ in 0..<4 { try await bucket.collectLater() }
        #expect(bucket.generations.count == 1)
        #expect(bucket.packs.count == 2)
        #expect(try await bucket.contents(second) == Shape.bytes(contents(1, 2, 9)))
    }

    @Test(arguments: ["snapshot", "clone", "pin", "reader"]) func whatIsPinnedStaysUntilItIsNot(_ kind: String)
        async throws
    {
        let id = try await bucket.create("v")
        let first = try await bucket.commit(id, contents(1, 2))
        let record = try await catalog.volume(id).record
        let lineage = record.lineage
        var other: VolumeID?
        switch kind {
        case "snapshot": _ = try await catalog.createSnapshot(name: "s", of: id)
        case "clone": other = try await bucket.create("c", from: .volume(id))
        case "pin": try await catalog.pin(first, of: id, lineage: lineage, label: "paper")
        default:
            try await catalog.addReader(
                bucket.node, of: id, record.incarnation, lineage: lineage, generation: first)
        }
        try await bucket.commit(id, contents(3))
        if kind != "pin", kind != "reader" {
            _ = try await catalog.updateHead(id) { $0.revoking(now: start) }
            try await catalog.deleteVolume(id)
        }
        for _ in 0..<5 { try await bucket.collectLater() }
        #expect(try await bucket.contents(first) == Shape.bytes(contents(1, 2)))

        switch kind {
        case "snapshot": try await catalog.deleteSnapshot(SnapshotID(name: "s"))
        case "clone": try await catalog.deleteVolume(try #require(other))
        case "pin": try await catalog.unpin("paper", of: id)
        default: try await catalog.removeReaders(bucket.node, of: id)
        }
        for _ in 0..<5 { try await bucket.collectLater() }
        #expect(!(try await bucket.isHeld(first)))
        if other != nil || kind == "snapshot" {
            // Nothing of the lineage is left.
            #expect(!bucket.store.keys.contains { $0.hasPrefix("lineages/") || $0.contains("/generations/") })
        }
    }

    @Test func whatIsCondemnedCanBePinnedUntilItGoes() async throws {
        let id = try await bucket.create("v")
        let first = try await bucket.commit(id, contents(1))
        try await bucket.commit(id, contents(2))
        let lineage = try await catalog.volume(id).record.lineage
        try await bucket.collect()
        try await catalog.pin(first, of: id, lineage: lineage, label: "paper")
        for _ in 0..<4 { try await bucket.collectLater() }
        #expect(try await bucket.contents(first) == Shape.bytes(contents(1)))

        try await catalog.unpin("paper", of: id)
        for _ in 0..<2 { try await bucket.collectLater() }
        await #expect(throws: PerSSDError.self) {
            try await catalog.pin(first, of: id, lineage: lineage, label: "paper")
        }
        #expect(try await catalog.pins(of: id).isEmpty)
    }

    @Test func historyGoesOnAcrossWhatExpired() async throws {
        let id = try await bucket.create("v", retention: "last=2")
        var made: [GenerationReference] = []
        for stamp in 1...6 { made.append(try await bucket.commit(id, contents(UInt64(stamp)))) }
        let lineage = try await catalog.volume(id).record.lineage
        try await catalog.pin(made[1], of: id, lineage: lineage, label: "paper")
        for _ in 0..<3 { try await bucket.collectLater() }
        let head = try await catalog.volume(id).head
        #expect(try await catalog.history(of: head, limit: 10).map(\.number) == [6, 5, 2])
        try await bucket.commit(id, contents(7))
        for _ in 0..<3 { try await bucket.collectLater() }
        let later = try await catalog.volume(id).head
        #expect(try await catalog.history(of: later, limit: 10).map(\.number) == [7, 6, 2])
        await #expect(throws: PerSSDError.self) { try await catalog.generation(made[0], lineage: lineage) }
        let check = try await catalog.checkHistory(of: later)
        #expect(check.isSound && check.generations == 3 && check.expired == 4 && check.oldest == 2, "\(check)")
        // One that is lost is no gap.
        let lost = try CatalogKey.generation(id, later.incarnation, 6)
        bucket.store.overwrite(lost.path, nil)
        await #expect(throws: PerSSDError.self) { try await catalog.history(of: later, limit: 10) }
        #expect(try await catalog.checkHistory(of: later).findings.count == 1)
    }

    @Test func whatIsBeingStagedOutStays() async throws {
        let id = try await bucket.create("v")
        try await bucket.commit(id, contents(1))
        let head = try await catalog.updateHead(id) {
            try $0.opening(by: bucket.node, expectedEpoch: nil, now: start)
        }.value
        let (record, packs) = try await bucket.prepare(head, contents(1, 2, 3))
        // Its record is there in time: it may take as long as it likes.
        let reference = try await catalog.write(record, wrote: packs)
        for _ in 0..<4 { try await bucket.collectLater() }
        _ = try await catalog.updateHead(id) {
            try $0.committing(reference, by: bucket.node, epoch: head.epoch, closing: true, now: start)
        }
        #expect(try await bucket.contents(reference) == Shape.bytes(contents(1, 2, 3)))
    }

    /// Its packs were written so long ago that they have been taken for garbage.
    @Test(arguments: [1, 2, 3]) func aStageOutThatTookTooLongIsDoneAgain(_ collections: Int) async throws {
        let id = try await bucket.create("v")
        try await bucket.commit(id, contents(1))
        let head = try await catalog.updateHead(id) {
            try $0.opening(by: bucket.node, expectedEpoch: nil, now: start)
        }.value
        let (record, packs) = try await bucket.prepare(head, contents(1, 2, 3))
        for _ in 0..<collections { try await bucket.collectLater() }
        if collections == 1 {
            // Condemned only: the record takes them out.
            _ = try await catalog.write(record, wrote: packs)
            #expect(try await bucket.collectLater().removed.packs.isEmpty)
            return
        }
        let failure = await #expect(throws: PerSSDError.self) { try await catalog.write(record, wrote: packs) }
        #expect(failure?.code == .aborted)
        // The record of what cannot be committed holds up nothing.
        try await bucket.collectLater()
        let (again, others) = try await bucket.prepare(head, contents(1, 2, 3))
        let reference = try await catalog.write(again, wrote: others)
        _ = try await catalog.updateHead(id) {
            try $0.committing(reference, by: bucket.node, epoch: head.epoch, closing: true, now: start)
        }
        for _ in 0..<3 { try await bucket.collectLater() }
        #expect(try await bucket.contents(reference) == Shape.bytes(contents(1, 2, 3)))
    }

    @Test func aMissingHeadStopsEverything() async throws {
        let id = try await bucket.create("v")
        try await bucket.commit(id, contents(1))
        try await bucket.commit(id, contents(2))
        bucket.store.overwrite(try CatalogKey.head(id).path, nil)
        let report = try await bucket.collection().run()
        #expect(report.failures.count == 1)
        #expect(report.failures.first?.description.contains("head.json") == true)
        #expect(report.condemned.isEmpty)
    }

    @Test func damageStopsTheCollectionOfItsLineageOnly() async throws {
        for name in ["v", "w"] {
            let id = try await bucket.create(name)
            try await bucket.commit(id, contents(1))
            try await bucket.commit(id, contents(2))
        }
        let id = VolumeID(name: "v")
        let newest = try #require(try await catalog.volume(id).head.newest)
        let record = try await catalog.generation(newest)
        let pack = try #require(record.map.top?.piece.pack).key(lineage: record.lineage)
        bucket.store.overwrite(pack.path, nil)
        let report = try await bucket.collection().run()
        #expect(report.failures.count == 1)
        #expect(report.condemned.generations.map(\.reference.volume) == [VolumeID(name: "w")])
    }

    /// Each of a collection's calls of the store is the last one of its process.
    @Test(arguments: MemoryStore.Death.allCases) func whatDiesIsContinuedByTheNext(_ death: MemoryStore.Death)
        async throws
    {
        for index in 0..<200 {
            let bucket = try Bucket()
            let id = try await bucket.create("v")
            for stamp in 1...3 { try await bucket.commit(id, contents(UInt64(stamp), 50)) }
            try await bucket.collectLater()
            bucket.clock.advance(Bucket.grace + 60)
            let reached = await bucket.store.dying(at: index, death) { _ = try await bucket.collection().run() }
            for _ in 0..<4 { try await bucket.collectLater() }
            #expect(bucket.generations.count == 1)
            #expect(bucket.packs.count == 2)
            let newest = try #require(try await bucket.catalog.volume(id).head.newest)
            #expect(try await bucket.contents(newest) == Shape.bytes(contents(3, 50)))
            if !reached {
                #expect(index > 10)
                return
            }
        }
        Issue.record("the collection never ended")
    }

    @Test func aCancelledCollectionSaysSo() async throws {
        let id = try await bucket.create("v")
        try await bucket.commit(id, contents(1))
        let collection = bucket.collection()
        let task = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return try await collection.run()
        }
        let failure = await #expect(throws: PerSSDError.self) { try await task.value }
        #expect(failure?.code == .cancelled)
    }
}
