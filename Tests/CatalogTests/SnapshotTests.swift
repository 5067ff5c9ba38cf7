import CatalogTestSupport
import Errors
import Foundation
import Testing

@testable import Persistence

@Suite struct SnapshotTests {
    let store = MemoryStore()
    let clock = TestClock()
    let volume = VolumeID(name: "pvc-1")
    let id = SnapshotID(name: "snapshot-1")

    private var catalog: Catalog { Catalog(store: store, now: { [clock] in clock.now }) }

    /// A volume with one generation that nobody holds.
    private func volumeWithOne() async throws -> Head {
        _ = try await catalog.createVolume(newVolume(claim: .init(namespace: "team", name: "data")))
        return try await catalog.commitOne(volume)
    }

    private func open(_ node: NodeReference = nodeA) async throws -> Head {
        try await catalog.updateHead(volume) { try $0.opening(by: node, expectedEpoch: nil, now: start) }.value
    }

    @Test func ofAVolumeThatNobodyWritesItIsReadyAtOnce() async throws {
        let head = try await volumeWithOne()
        clock.advance(100)
        let made = try await catalog.createSnapshot(name: "snapshot-1", of: volume)
        #expect(made.snapshot == id)
        #expect(made.isReady)
        #expect(made.generation == head.newest)
        #expect(made.incarnation == head.incarnation)
        #expect(made.capacityBytes == 64 << 20)
        #expect(made.createdAt == clock.now)
        #expect(made.sourceTitle == "team/data")
        clock.advance(100)
        #expect(try await catalog.createSnapshot(name: "snapshot-1", of: volume) == made)
        #expect(try await catalog.snapshot(id) == made)
        // What the volume becomes later is not in it.
        try await catalog.commitOne(volume)
        #expect(try await catalog.createSnapshot(name: "snapshot-1", of: volume).generation?.number == 1)
        #expect(try await catalog.createSnapshot(name: "snapshot-2", of: volume).generation?.number == 2)
    }

    @Test func itTakesSixRequests() async throws {
        _ = try await volumeWithOne()
        store.forgetCalls()
        _ = try await catalog.createSnapshot(name: "snapshot-1", of: volume)
        // Snapshot, volume and head are read, it is written, and what it pins is looked at.
        #expect(store.calls.count == 6, "\(store.calls)")
    }

    @Test func theNameOfAnotherVolumesSnapshotIsRefused() async throws {
        _ = try await volumeWithOne()
        let other = try await catalog.createVolume(newVolume("pvc-2")).volume
        try await catalog.commitOne(other)
        _ = try await catalog.createSnapshot(name: "snapshot-1", of: volume)
        await expectError(.alreadyExists, "snapshot-1", "\(volume)") {
            _ = try await catalog.createSnapshot(name: "snapshot-1", of: other)
        }
    }

    @Test func ofAVolumeThatWasNeverWrittenItIsEmpty() async throws {
        await expectError(.notFound, "\(volume)") {
            _ = try await catalog.createSnapshot(name: "snapshot-1", of: volume)
        }
        _ = try await catalog.createVolume(newVolume())
        let made = try await catalog.createSnapshot(name: "snapshot-1", of: volume)
        #expect(made.isReady && made.generation == nil && made.delivery == nil)
        // It stays so, whatever becomes of the volume.
        _ = try await open()
        #expect(try await catalog.createSnapshot(name: "snapshot-1", of: volume) == made)
    }

    @Test func ofAPublishedVolumeItWaitsForTheNode() async throws {
        _ = try await volumeWithOne()
        let head = try await open()
        let pending = try await catalog.createSnapshot(name: "snapshot-1", of: volume)
        #expect(!pending.isReady)
        #expect(pending.delivery == .init(node: nodeA, epoch: head.epoch, after: 1))
        #expect(try await catalog.createSnapshot(name: "snapshot-1", of: volume) == pending)

        let cutAt = clock.now + 5
        let noted = try await catalog.noteCut(of: id, at: cutAt, by: nodeA, epoch: head.epoch)
        #expect(noted.createdAt == cutAt)
        #expect(try await catalog.createSnapshot(name: "snapshot-1", of: volume) == noted)

        let newest = try await catalog.commitOne(volume, closing: false).newest
        let committed = try #require(newest)
        await expectError(.failedPrecondition, "c/a", "c/b") {
            _ = try await catalog.makeReady(id, committed, cutAt: cutAt, by: nodeB, epoch: head.epoch)
        }
        await expectError(.failedPrecondition, "epoch 9") {
            _ = try await catalog.makeReady(id, committed, cutAt: cutAt, by: nodeA, epoch: 9)
        }
        let ready = try await catalog.makeReady(id, committed, cutAt: cutAt, by: nodeA, epoch: head.epoch)
        #expect(ready.generation == committed)
        #expect(ready.delivery == nil)
        #expect(ready.createdAt == cutAt)
        // A node that died before it learned of it says so again.
        #expect(try await catalog.makeReady(id, committed, cutAt: cutAt, by: nodeA, epoch: head.epoch) == ready)
        #expect(try await catalog.createSnapshot(name: "snapshot-1", of: volume) == ready)
    }

    @Test func theFirstGenerationOfAVolumeCanBeASnapshot() async throws {
        _ = try await catalog.createVolume(newVolume())
        let head = try await open()
        let pending = try await catalog.createSnapshot(name: "snapshot-1", of: volume)
        #expect(pending.delivery?.after == 0)
        let committed = try #require(try await catalog.commitOne(volume, closing: false).newest)
        #expect(
            try await catalog.makeReady(id, committed, cutAt: start, by: nodeA, epoch: head.epoch).isReady)
    }

    @Test func aDeliveryWithoutACutIsPlannedAnew() async throws {
        _ = try await volumeWithOne()
        _ = try await open()
        _ = try await catalog.createSnapshot(name: "snapshot-1", of: volume)
        // The pod ended before anybody told the node.
        let closed = try await catalog.commitOne(volume)
        let made = try await catalog.createSnapshot(name: "snapshot-1", of: volume)
        #expect(made.generation == closed.newest)

        _ = try await open()
        _ = try await catalog.createSnapshot(name: "snapshot-2", of: volume)
        _ = try await catalog.updateHead(volume) { $0.revoking(now: start) }
        let other = try await open(nodeB)
        let again = try await catalog.createSnapshot(name: "snapshot-2", of: volume)
        #expect(again.delivery == .init(node: nodeB, epoch: other.epoch, after: 2))
    }

    @Test func aCutThatIsLostWithItsNodeIsSaidSo() async throws {
        _ = try await volumeWithOne()
        let head = try await open()
        _ = try await catalog.createSnapshot(name: "snapshot-1", of: volume)
        _ = try await catalog.noteCut(of: id, at: clock.now, by: nodeA, epoch: head.epoch)
        _ = try await catalog.updateHead(volume) { $0.revoking(now: start) }
        await expectError(.failedPrecondition, "c/a", "newest generation of the volume is 1", "delete the snapshot") {
            _ = try await catalog.createSnapshot(name: "snapshot-1", of: volume)
        }
        try await catalog.deleteSnapshot(id)
        #expect(try await catalog.createSnapshot(name: "snapshot-1", of: volume).generation?.number == 1)
    }

    @Test func aCutWhoseNodeCommittedAndDiedIsFound() async throws {
        _ = try await volumeWithOne()
        let head = try await open()
        _ = try await catalog.createSnapshot(name: "snapshot-1", of: volume)
        let cutAt = clock.now + 7
        _ = try await catalog.noteCut(of: id, at: cutAt, by: nodeA, epoch: head.epoch)
        try await catalog.commitOne(volume, closing: false, cutAt: cutAt)
        try await catalog.commitOne(volume, closing: false, cutAt: cutAt + 1)
        _ = try await catalog.updateHead(volume) { $0.revoking(now: start) }
        let found = try await catalog.createSnapshot(name: "snapshot-1", of: volume)
        #expect(found.generation?.number == 2)
        #expect(found.createdAt == cutAt)
    }

    @Test func itOutlivesItsVolume() async throws {
        let head = try await volumeWithOne()
        let made = try await catalog.createSnapshot(name: "snapshot-1", of: volume)
        try await catalog.deleteVolume(volume)
        #expect(try await catalog.snapshot(id) == made)
        #expect(try await catalog.createSnapshot(name: "snapshot-1", of: volume) == made)
        #expect(try await catalog.generation(try #require(head.newest)).number == 1)
        try await catalog.deleteSnapshot(id)
        await expectError(.notFound, "\(id)") { _ = try await catalog.snapshot(id) }
        try await catalog.deleteSnapshot(id)
        await expectError(.notFound, "\(volume)") {
            _ = try await catalog.createSnapshot(name: "snapshot-1", of: volume)
        }
    }

    @Test func deletingWhatNeverWasIsFine() async throws {
        try await catalog.deleteSnapshot(id)
        #expect(store.keys.isEmpty)
    }

    @Test func aNameComesBackAfterADeletion() async throws {
        _ = try await volumeWithOne()
        _ = try await catalog.createSnapshot(name: "snapshot-1", of: volume)
        try await catalog.deleteSnapshot(id)
        try await catalog.commitOne(volume)
        #expect(try await catalog.createSnapshot(name: "snapshot-1", of: volume).generation?.number == 2)
    }

    @Test func listingIsPagedAndFiltered() async throws {
        _ = try await volumeWithOne()
        let other = try await catalog.createVolume(newVolume("pvc-2")).volume
        try await catalog.commitOne(other)
        var expected: [SnapshotID: VolumeID] = [:]
        for index in 0..<7 {
            let source = index.isMultiple(of: 3) ? other : volume
            expected[try await catalog.createSnapshot(name: "s\(index)", of: source).snapshot] = source
        }
        let gone = try await catalog.createSnapshot(name: "gone", of: volume).snapshot
        try await catalog.deleteSnapshot(gone)
        for limit in [1, 2, 3, 100] {
            var found: [SnapshotID] = []
            while true {
                let page = try await catalog.snapshots(after: found.last, limit: limit)
                #expect(page.count <= limit)
                found += page.map(\.snapshot)
                if page.count < limit { break }
            }
            #expect(found == expected.keys.sorted())
            let ofOther = try await catalog.snapshots(of: other, after: nil, limit: limit)
            #expect(
                ofOther.map(\.snapshot) == expected.filter { $0.value == other }.keys.sorted().prefix(limit).map(\.self)
            )
        }
    }

    /// A generation that was the newest when the head was read, and expires before the snapshot is there.
    @Test(arguments: [CollectionRecord.Phase.condemned, .removing, .idle])
    func aGenerationThatExpiresMeanwhileIsNotPinned(_ phase: CollectionRecord.Phase) async throws {
        let first = try #require(try await volumeWithOne().newest)
        let catalog = catalog
        let reached = try await store.interrupting(
            at: 3,
            with: {
                try await catalog.commitOne(VolumeID(name: "pvc-1"))
                try await catalog.expire(first, kept: [], phase: phase)
            }
        ) {
            let made = try await catalog.createSnapshot(name: "snapshot-1", of: volume)
            // What was only condemned is rescued; else the newest is taken.
            #expect(made.generation?.number == (phase == .condemned ? 1 : 2))
        }
        #expect(reached)
        let lineage = try await catalog.volume(volume).record.lineage
        let record = try await catalog.load(CollectionRecord.self, at: CatalogKey.collection(lineage: lineage))
        #expect(record?.value.generations == (phase == .removing ? [first] : []))
    }

    @Test(arguments: MemoryStore.Death.allCases) func aCreationThatDiesIsFinishedByTheNext(
        _ death: MemoryStore.Death
    ) async throws {
        _ = try await volumeWithOne()
        for index in 0..<20 {
            let name = "s\(index)"
            let reached = await store.dying(at: index, death) {
                _ = try await catalog.createSnapshot(name: name, of: volume)
            }
            #expect(try await catalog.createSnapshot(name: name, of: volume).isReady)
            if !reached {
                #expect(index > 3)
                return
            }
        }
        Issue.record("the creation never ended")
    }

    @Test(arguments: 0..<10) func concurrentCreatesMakeOne(_: Int) async throws {
        _ = try await volumeWithOne()
        store.intervene(before: { _ in for _ in 0..<Int.random(in: 0..<5) { await Task.yield() } })
        let (catalog, volume) = (catalog, volume)
        let made = try await withThrowingTaskGroup(of: SnapshotRecord.self) { group in
            for _ in 0..<6 {
                group.addTask { try await catalog.createSnapshot(name: "snapshot-1", of: volume) }
            }
            return try await group.reduce(into: [SnapshotRecord]()) { $0.append($1) }
        }
        #expect(Set(made.map(\.generation)).count == 1)
    }
}
