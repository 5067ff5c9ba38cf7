import CatalogTestSupport
import Errors
import Foundation
import Testing

@testable import Persistence

@Suite struct CloneTests {
    let store = MemoryStore()
    let source = VolumeID(name: "pvc-1")
    let clone = VolumeID(name: "pvc-2")
    let snapshot = SnapshotID(name: "snapshot-1")

    private var catalog: Catalog { Catalog(store: store, now: { start }) }

    /// A volume with one generation, and a snapshot of that.
    private func sourceAndSnapshot() async throws -> Head {
        _ = try await catalog.createVolume(newVolume(parameters: VolumeParameters(pool: "fast", blockSize: 1 << 20)))
        let head = try await catalog.commitOne(source)
        _ = try await catalog.createSnapshot(name: "snapshot-1", of: source)
        return head
    }

    private func newClone(
        required: Int64 = 0, limit: Int64 = 0, pool: String = "other", of source: CloneSource? = nil
    ) -> NewVolume {
        newVolume(
            "pvc-2", required: required, limit: limit, parameters: VolumeParameters(pool: pool),
            source: source ?? .snapshot(snapshot))
    }

    @Test(arguments: [true, false]) func aCloneBeginsAtItsSource(_ isOfSnapshot: Bool) async throws {
        let head = try await sourceAndSnapshot()
        let from: CloneSource = isOfSnapshot ? .snapshot(snapshot) : .volume(source)
        let packs = store.keys.filter { $0.contains("/packs/") }
        let made = try await catalog.createVolume(newClone(of: from))
        let origin = try await catalog.volume(source).record
        #expect(made.lineage == origin.lineage)
        #expect(made.incarnation != origin.incarnation)
        #expect(made.capacityBytes == origin.capacityBytes)
        #expect(made.origin == .init(source: from, generation: head.newest))
        #expect(head.newest != nil)
        #expect(made.parameters.pool == "other")
        // As the blocks of its generation are, whatever the class says.
        #expect(made.parameters.blockSize == 262_144)
        let listing = try await catalog.volume(clone)
        #expect(listing.record == made)
        #expect(listing.head.newest == head.newest)
        #expect(listing.head.epoch == 0)
        #expect(store.keys.filter { $0.contains("/packs/") } == packs)
    }

    @Test func aCloneGoesOnFromItsSource() async throws {
        let head = try await sourceAndSnapshot()
        _ = try await catalog.createVolume(newClone())
        let first = try await catalog.commitOne(clone, by: nodeB)
        #expect(first.newest?.number == 2)
        #expect(first.newest?.volume == clone)
        // The source goes another way.
        let other = try await catalog.commitOne(source)
        #expect(other.newest?.number == 2)
        #expect(other.newest != first.newest)
        let history = try await catalog.history(of: first, limit: 10)
        #expect(history.map(\.number) == [2, 1])
        #expect(history.map(\.volume) == [clone, source])
        #expect(history[0].parent == head.newest)
        // What it is a clone of, it stays.
        #expect(try await catalog.createVolume(newClone()).origin?.generation == head.newest)
    }

    @Test func clonesOfClonesShareTheLineage() async throws {
        _ = try await sourceAndSnapshot()
        _ = try await catalog.createVolume(newClone())
        let third = try await catalog.createVolume(newVolume("pvc-3", source: .volume(clone)))
        #expect(third.lineage == (try await catalog.volume(source).record.lineage))
        #expect(third.origin?.generation?.volume == source)
    }

    @Test func creatingTwiceFindsTheFirst() async throws {
        _ = try await sourceAndSnapshot()
        let made = try await catalog.createVolume(newClone())
        #expect(try await catalog.createVolume(newClone()) == made)
        #expect(try await catalog.createVolume(newClone(required: 64 << 20)) == made)
        // The source may have gone since.
        try await catalog.deleteSnapshot(snapshot)
        try await catalog.deleteVolume(source)
        #expect(try await catalog.createVolume(newClone()) == made)
    }

    @Test func theNameOfSomethingElseIsRefused() async throws {
        _ = try await sourceAndSnapshot()
        _ = try await catalog.createVolume(newClone())
        await expectError(.alreadyExists, "pvc-2", "\(snapshot)") {
            _ = try await catalog.createVolume(newClone(of: .volume(source)))
        }
        await expectError(.alreadyExists, "pvc-2", "\(snapshot)") {
            _ = try await catalog.createVolume(newVolume("pvc-2"))
        }
        await expectError(.alreadyExists, "pvc-1", "no source") {
            _ = try await catalog.createVolume(newVolume("pvc-1", source: .snapshot(snapshot)))
        }
        await expectError(.alreadyExists, "parameters") { _ = try await catalog.createVolume(newClone(pool: "third")) }
    }

    @Test func aCloneMayBeLargerAndNeverSmaller() async throws {
        _ = try await sourceAndSnapshot()
        await expectError(.outOfRange, "required_bytes", "67108864") {
            _ = try await catalog.createVolume(newClone(required: 60 << 20))
        }
        await expectError(.outOfRange, "limit_bytes", "67108864") {
            _ = try await catalog.createVolume(newClone(limit: 60 << 20))
        }
        #expect(!store.keys.contains { $0.contains(clone.rawValue) })
        #expect(try await catalog.createVolume(newClone(required: 65 << 20)).capacityBytes == 68 << 20)
    }

    @Test func badSourcesAreRefused() async throws {
        await expectError(.notFound, "\(snapshot)") { _ = try await catalog.createVolume(newClone()) }
        await expectError(.notFound, "\(source)") { _ = try await catalog.createVolume(newClone(of: .volume(source))) }
        _ = try await catalog.createVolume(newVolume())
        _ = try await catalog.updateHead(source) { try $0.opening(by: nodeA, expectedEpoch: nil, now: start) }
        await expectError(.failedPrecondition, "nothing to clone", "snapshot") {
            _ = try await catalog.createVolume(newClone(of: .volume(source)))
        }
        _ = try await catalog.createSnapshot(name: "snapshot-1", of: source)
        await expectError(.failedPrecondition, "not ready", "c/a") { _ = try await catalog.createVolume(newClone()) }
        #expect(!store.keys.contains { $0.contains(clone.rawValue) })
    }

    @Test func whatWasNeverWrittenIsClonedAsNothing() async throws {
        let origin = try await catalog.createVolume(newVolume(parameters: VolumeParameters(blockSize: 1 << 20)))
        _ = try await catalog.createSnapshot(name: "snapshot-1", of: source)
        for from in [CloneSource.snapshot(snapshot), .volume(source)] {
            let made = try await catalog.createVolume(newClone(of: from))
            #expect(made.origin == .init(source: from, generation: nil))
            #expect(made.capacityBytes == origin.capacityBytes && made.lineage != origin.lineage)
            #expect(made.parameters.blockSize == 262_144)
            #expect(try await catalog.volume(clone).head.newest == nil)
            #expect(try await catalog.createVolume(newClone(of: from)) == made)
            try await catalog.deleteVolume(clone)
        }
    }

    @Test func aSourceThatIsBeingDeletedIsRefused() async throws {
        _ = try await sourceAndSnapshot()
        _ = try await catalog.updateHead(source) { try $0.deleting(now: start) }
        await expectError(.notFound, "\(source)") { _ = try await catalog.createVolume(newClone(of: .volume(source))) }
        // Its snapshot stands by itself.
        #expect(try await catalog.createVolume(newClone()).origin != nil)
    }

    @Test(arguments: MemoryStore.Death.allCases) func aCreationThatDiesIsFinishedByTheNext(
        _ death: MemoryStore.Death
    ) async throws {
        for index in 0..<30 {
            let test = Self()
            let head = try await test.sourceAndSnapshot()
            let reached = await test.store.dying(at: index, death) {
                _ = try await test.catalog.createVolume(test.newClone())
            }
            let made = try await test.catalog.createVolume(test.newClone())
            let listing = try await test.catalog.volume(clone)
            #expect(listing.record == made)
            #expect(listing.head.newest == head.newest)
            if !reached {
                #expect(index > 7)
                return
            }
        }
        Issue.record("the creation never ended")
    }

    /// The source's generation expires between any two steps of a clone's creation.
    @Test(arguments: [true, false], [CollectionRecord.Phase.condemned, .removing, .idle])
    func anOriginThatExpiresMeanwhileIsNotClonedFrom(
        _ isOfSnapshot: Bool, _ phase: CollectionRecord.Phase
    ) async throws {
        for index in 0..<30 {
            let test = Self()
            let first = try #require(try await test.sourceAndSnapshot().newest)
            let (catalog, snapshot, source) = (test.catalog, snapshot, source)
            var failure: PerSSDError?
            let reached = try await test.store.interrupting(
                at: index,
                with: {
                    try await catalog.deleteSnapshot(snapshot)
                    try await catalog.commitOne(source)
                    try await catalog.expire(first, kept: [], phase: phase)
                }
            ) {
                do {
                    let from: CloneSource = isOfSnapshot ? .snapshot(snapshot) : .volume(source)
                    let made = try await catalog.createVolume(test.newClone(of: from))
                    #expect(try await catalog.volume(clone).record == made)
                    // Where it was expired before the look, it is not what the clone stands on.
                    let listing = try await catalog.volume(clone)
                    if phase != .condemned, index < 9 { #expect(listing.head.newest?.number == 2, "\(index)") }
                } catch let error as PerSSDError {
                    failure = error
                    await expectError(.notFound) { _ = try await catalog.volume(clone) }
                }
            }
            if let failure {
                #expect(isOfSnapshot && failure.code == .notFound, "\(failure)")
            }
            if !reached { return }
        }
        Issue.record("the creation never ended")
    }

    @Test func anExpiredParentIsNoDamage() async throws {
        _ = try await catalog.createVolume(newVolume())
        var references: [GenerationReference] = []
        for _ in 0..<5 { references.append(try #require(try await catalog.commitOne(source).newest)) }
        let head = try await catalog.volume(source).head
        let third = references[2]
        try await catalog.expire(third, kept: [references[0], references[1]], phase: .idle)
        let history = try await catalog.history(of: head, limit: 10)
        #expect(history.map(\.number) == [5, 4, 2, 1])
        await expectError(.notFound, "generation 3", "expired") {
            _ = try await catalog.generation(third, lineage: history[0].lineage)
        }
        // One that nobody expired is damage still.
        store.overwrite(try CatalogKey.generation(source, head.incarnation, 2).path, nil)
        await expectError(.corrupt, "generation 2", "missing") { _ = try await catalog.history(of: head, limit: 10) }
        await expectError(.corrupt, "generation 2", "missing") {
            _ = try await catalog.generation(references[1], lineage: history[0].lineage)
        }
    }
}
