import CatalogTestSupport
import Errors
import Foundation
import Synchronization
import Testing

@testable import Persistence

@Suite struct VolumeLifeTests {
    let store: MemoryStore
    let clock = TestClock()
    let id = VolumeID(name: "pvc-1")
    private let ended = Ended()

    /// Incarnations that must never be seen again.
    private final class Ended: Sendable {
        private let incarnations = Mutex<Set<Incarnation>>([])
        func add(_ incarnation: Incarnation) { incarnations.withLock { _ = $0.insert(incarnation) } }
        func has(_ incarnation: Incarnation) -> Bool { incarnations.withLock { $0.contains(incarnation) } }
    }

    init() { self.init(store: MemoryStore()) }
    init(store: MemoryStore) { self.store = store }

    private var catalog: Catalog { Catalog(store: store, now: { [clock] in clock.now }) }

    /// A volume with two committed generations, released.
    private func volumeWithHistory(_ name: String = "pvc-1") async throws -> VolumeListing {
        let volume = try await catalog.createVolume(newVolume(name))
        var head = try await catalog.updateHead(volume.volume) {
            try $0.opening(by: nodeA, expectedEpoch: nil, now: start)
        }
        for number in 1...2 {
            let reference = try await catalog.write(try generationRecord(of: head.value), wrote: [])
            head = try await catalog.updateHead(volume.volume, known: head) {
                try $0.committing(reference, by: nodeA, epoch: 1, closing: number == 2, now: start)
            }
        }
        return try await catalog.volume(volume.volume)
    }

    /// What the bucket holds of the volume is one whole life, or none.
    private func requireConsistent(_ location: SourceLocation = #_sourceLocation) async throws {
        do {
            let listing = try await catalog.volume(id)
            #expect(listing.record.incarnation == listing.head.incarnation, sourceLocation: location)
        } catch let error as PerSSDError where error.code == .notFound {
            let alive = try await catalog.volumes(after: nil, limit: 10)
            #expect(alive.isEmpty, sourceLocation: location)
        }
    }

    @Test func creatingKeepsWhatWasAskedFor() async throws {
        let claim = VolumeRecord.Claim(namespace: "team", name: "data")
        let parameters = VolumeParameters(pool: "fast", blockSize: 1 << 20)
        let made = try await catalog.createVolume(
            newVolume("pvc-1", required: 5 << 20, parameters: parameters, claim: claim))
        #expect(made.volume == id)
        #expect(made.name == "pvc-1")
        #expect(made.capacityBytes == 8 << 20)
        #expect(made.parameters == parameters)
        #expect(made.title == "team/data")
        #expect(made.createdAt == clock.now)
        let listing = try await catalog.volume(id)
        #expect(listing.record == made)
        #expect(listing.head == Head(volume: id, incarnation: made.incarnation))
    }

    @Test func creatingTwiceFindsTheFirst() async throws {
        let first = try await catalog.createVolume(newVolume())
        clock.advance(60)
        #expect(try await catalog.createVolume(newVolume()) == first)
        #expect(try await catalog.createVolume(newVolume(required: 1, limit: 64 << 20)) == first)
        #expect(try await catalog.createVolume(newVolume(required: 0, limit: 0)) == first)
    }

    @Test func creatingSomethingElseUnderTheNameIsRefused() async throws {
        _ = try await catalog.createVolume(newVolume())
        await expectError(.alreadyExists, "pvc-1", "67108864 bytes") {
            _ = try await catalog.createVolume(newVolume(required: 65 << 20))
        }
        await expectError(.alreadyExists, "67108864 bytes") {
            _ = try await catalog.createVolume(newVolume(required: 0, limit: 60 << 20))
        }
        await expectError(.alreadyExists, "parameters") {
            _ = try await catalog.createVolume(newVolume(parameters: VolumeParameters(pool: "other")))
        }
    }

    @Test func creatingWritesTwoObjects() async throws {
        _ = try await catalog.createVolume(newVolume())
        #expect(store.keys == ["volumes/\(id)/head.json", "volumes/\(id)/volume.json"])
    }

    @Test(arguments: 0..<20) func concurrentCreatesMakeOneVolume(_: Int) async throws {
        store.intervene(before: { _ in for _ in 0..<Int.random(in: 0..<5) { await Task.yield() } })
        let catalog = catalog
        let made = try await withThrowingTaskGroup(of: VolumeRecord.self) { group in
            for _ in 0..<8 { group.addTask { try await catalog.createVolume(newVolume()) } }
            return try await group.reduce(into: Set<Incarnation>()) { $0.insert($1.incarnation) }
        }
        #expect(made.count == 1)
        #expect(try await catalog.volume(id).record.incarnation == made.first)
    }

    @Test(arguments: MemoryStore.Death.allCases) func aCreationThatDiesIsFinishedByTheNext(
        _ death: MemoryStore.Death
    ) async throws {
        for index in 0..<100 {
            let store = MemoryStore()
            let catalog = Catalog(store: store)
            let reached = await store.dying(at: index, death) { _ = try await catalog.createVolume(newVolume()) }
            let made = try await catalog.createVolume(newVolume())
            #expect(try await catalog.volume(id).record == made)
            #expect(try await catalog.createVolume(newVolume()) == made)
            if !reached {
                #expect(index > 3)
                return
            }
        }
        Issue.record("the creation never ended")
    }

    @Test(arguments: MemoryStore.Death.allCases) func aCreationThatDiesCanBeDeleted(
        _ death: MemoryStore.Death
    ) async throws {
        for index in 0..<100 {
            let store = MemoryStore()
            let catalog = Catalog(store: store)
            // In a second life, where an old head stands in the way.
            _ = try await catalog.createVolume(newVolume())
            try await catalog.deleteVolume(id)
            let reached = await store.dying(at: index, death) { _ = try await catalog.createVolume(newVolume()) }
            try await catalog.deleteVolume(id)
            await expectError(.notFound) { _ = try await catalog.volume(id) }
            // Nothing of it stands in the way of another one of the name.
            let other = try await catalog.createVolume(newVolume(required: 128 << 20))
            #expect(other.capacityBytes == 128 << 20)
            if !reached { return }
        }
        Issue.record("the creation never ended")
    }

    @Test func deletingLeavesGenerationsAndTombstones() async throws {
        let volume = try await volumeWithHistory()
        #expect(store.keys.count == 4)
        try await catalog.deleteVolume(id)
        // What a snapshot or a clone may need is for the collection of garbage to judge.
        #expect(store.keys.count == 4)
        #expect(try await catalog.generation(try #require(volume.head.newest)).number == 2)
        await expectError(.notFound, "\(id)") { _ = try await catalog.volume(id) }
        await expectError(.notFound, "\(id)") { _ = try await catalog.head(id) }
        #expect(try await catalog.volumes(after: nil, limit: 10).isEmpty)
        try await catalog.deleteVolume(id)
        await expectError(.notFound) {
            _ = try await catalog.updateHead(id, incarnation: volume.record.incarnation) { $0.revoking(now: start) }
        }
    }

    @Test func deletingWhatNeverWasIsFine() async throws {
        try await catalog.deleteVolume(id)
        #expect(store.keys.isEmpty)
    }

    @Test func deletingWhatIsHeldIsRefusedAndChangesNothing() async throws {
        let volume = try await volumeWithHistory()
        _ = try await catalog.updateHead(id) { try $0.granting(to: nodeB, as: readWrite, now: start) }
        let keys = store.keys
        await expectError(.failedPrecondition, "c/b", "granted") { try await catalog.deleteVolume(id) }
        #expect(store.keys == keys)
        #expect(try await catalog.volume(id).record == volume.record)
    }

    @Test(arguments: MemoryStore.Death.allCases) func aDeletionThatDiesIsFinishedByTheNext(
        _ death: MemoryStore.Death
    ) async throws {
        for index in 0..<100 {
            let store = MemoryStore()
            let test = Self(store: store)
            let old = try await test.volumeWithHistory()
            let reached = await store.dying(at: index, death) { try await test.catalog.deleteVolume(id) }
            try await test.requireConsistent()
            try await test.catalog.deleteVolume(id)
            await expectError(.notFound) { _ = try await test.catalog.volume(id) }
            let new = try await test.catalog.createVolume(newVolume())
            #expect(new.incarnation != old.record.incarnation)
            if !reached {
                #expect(index > 3)
                return
            }
        }
        Issue.record("the deletion never ended")
    }

    @Test(arguments: MemoryStore.Death.allCases) func aDeletionThatDiesIsFinishedByTheNextVolumeOfTheName(
        _ death: MemoryStore.Death
    ) async throws {
        for index in 0..<100 {
            let store = MemoryStore()
            let test = Self(store: store)
            let old = try await test.volumeWithHistory()
            let reached = await store.dying(at: index, death) { try await test.catalog.deleteVolume(id) }
            let new = try await test.catalog.createVolume(newVolume())
            let listing = try await test.catalog.volume(id)
            #expect(listing.record.incarnation == new.incarnation)
            if new.incarnation == old.record.incarnation {
                // The deletion had not begun.
                #expect(listing.head.newest == old.head.newest)
            } else {
                #expect(listing.head.newest == nil)
            }
            if !reached { return }
        }
        Issue.record("the deletion never ended")
    }

    /// Between every two steps of a creation, the volume is created, deleted, or both.
    @Test(arguments: [
        "create", "delete", "create delete", "delete create", "create delete create", "delete create delete",
        "delete create mark",
    ])
    func aCreationSurvivesWhateverComesBetween(_ intrusion: String) async throws {
        for hasFormerLife in [false, true] {
            for index in 0..<100 {
                let store = MemoryStore()
                let test = Self(store: store)
                if hasFormerLife {
                    _ = try await test.volumeWithHistory()
                    try await test.catalog.deleteVolume(id)
                }
                let reached = try await store.interrupting(at: index, with: { try await test.run(intrusion) }) {
                    _ = try await test.catalog.createVolume(newVolume())
                }
                try await test.requireConsistent()
                let made = try await test.catalog.createVolume(newVolume())
                #expect(try await test.catalog.volume(id).record == made)
                #expect(!test.ended.has(made.incarnation), "a life that was over is back")
                if !reached { break }
            }
        }
    }

    @Test(arguments: ["create", "delete", "delete create", "delete create delete", "delete create grant"])
    func aDeletionSurvivesWhateverComesBetween(_ intrusion: String) async throws {
        for index in 0..<100 {
            let store = MemoryStore()
            let test = Self(store: store)
            let old = try await test.volumeWithHistory()
            let reached = try await store.interrupting(at: index, with: { try await test.run(intrusion) }) {
                do {
                    try await test.catalog.deleteVolume(id)
                } catch let error as PerSSDError where error.code == .failedPrecondition {
                    // Granted to a node in its new life before the deletion looked.
                    #expect(index == 0)
                }
            }
            try await test.requireConsistent()
            let standing = try? await test.catalog.volume(id)
            #expect(standing?.record.incarnation != old.record.incarnation)
            if index > 0, reached, intrusion.hasSuffix("delete create") {
                // The deletion had seen the former life, and leaves the next one alone.
                #expect(standing != nil, "a volume that nobody asked to delete is gone (\(index))")
            }
            if !reached { return }
        }
        Issue.record("the deletion never ended")
    }

    /// The same for a volume whose creation died before it had a head of its own.
    @Test(arguments: [
        "create", "delete", "create delete", "delete create", "delete create delete", "delete create mark",
    ])
    func aDeletionOfWhatIsHalfMadeSurvivesWhateverComesBetween(_ intrusion: String) async throws {
        for hasFormerLife in [false, true] {
            for index in 0..<100 {
                let store = MemoryStore()
                let test = Self(store: store)
                if hasFormerLife {
                    _ = try await test.volumeWithHistory()
                    try await test.catalog.deleteVolume(id)
                }
                store.intervene(before: { call in
                    let isHead = call.operation == .write && call.path.hasSuffix("head.json")
                    if isHead { throw PerSSDError(.unavailable, "injected") }
                })
                await expectError(.unavailable) { _ = try await test.catalog.createVolume(newVolume()) }
                store.intervene()
                let reached = try await store.interrupting(at: index, with: { try await test.run(intrusion) }) {
                    try await test.catalog.deleteVolume(id)
                }
                try await test.requireConsistent()
                let made = try await test.catalog.createVolume(newVolume())
                #expect(try await test.catalog.volume(id).record == made)
                #expect(!test.ended.has(made.incarnation), "a life that was over is back")
                if !reached { break }
            }
        }
    }

    @Test(arguments: 0..<20) func creatingAndDeletingAtOnceEndsConsistent(_: Int) async throws {
        store.intervene(before: { _ in for _ in 0..<Int.random(in: 0..<4) { await Task.yield() } })
        let catalog = catalog
        await withTaskGroup(of: Void.self) { group in
            for index in 0..<8 {
                group.addTask {
                    do {
                        if index.isMultiple(of: 2) {
                            _ = try await catalog.createVolume(newVolume())
                        } else {
                            try await catalog.deleteVolume(id)
                        }
                    } catch {
                        #expect((error as? PerSSDError)?.code == .aborted, "\(error)")
                    }
                }
            }
        }
        store.intervene()
        try await requireConsistent()
        let made = try await catalog.createVolume(newVolume())
        #expect(try await catalog.volume(id).record == made)
    }

    @Test func aVolumeThatComesBackIsAnotherOne() async throws {
        let old = try await volumeWithHistory()
        try await catalog.deleteVolume(id)
        let new = try await volumeWithHistory()
        #expect(new.record.volume == old.record.volume)
        #expect(new.record.incarnation != old.record.incarnation)
        #expect(new.record.lineage != old.record.lineage)
        #expect(new.head.newest?.number == 2)
        // Generation 1 of the former life is not the one of this life.
        let first = try await catalog.history(of: new.head, limit: 10)[1]
        #expect(first.number == 1)
        #expect(first.incarnation == new.record.incarnation)
        let former = try #require(old.head.newest)
        #expect(try await catalog.generation(former).incarnation == old.record.incarnation)
    }

    private func run(_ intrusion: String) async throws {
        for step in intrusion.split(separator: " ") {
            switch step {
            case "create": _ = try await catalog.createVolume(newVolume())
            case "delete": try await catalog.deleteVolume(id)
            case "mark":
                // A deletion that dies right after it has begun.
                let head = try await catalog.updateHead(id) { try $0.deleting(now: start) }
                ended.add(head.value.incarnation)
            case "grant":
                _ = try await catalog.updateHead(id) { try $0.granting(to: nodeB, as: readWrite, now: start) }
            default: Issue.record("unknown step \(step)")
            }
        }
    }
}
