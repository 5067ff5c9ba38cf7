import CatalogTestSupport
import Digests
import Errors
import Foundation
import Testing
import TransferTestSupport

@testable import Persistence

/// Nodes, controllers and collectors at once, in thousands of random orders, each of them dying now and then.
@Suite struct SimulationTests {
    static let grace = 3600.0

    /// PERSSD_SIMULATIONS says how many, PERSSD_SEED which is the first. Always the same where nobody says, so that a change
    /// is not blamed for what it did not do; to look for more, say another one.
    static var seeds: Range<UInt64> {
        let environment = ProcessInfo.processInfo.environment
        let count = environment["PERSSD_SIMULATIONS"].flatMap { UInt64($0) } ?? 20
        let first = environment["PERSSD_SEED"].flatMap { UInt64($0) } ?? 1000
        return first..<first + count
    }

    @Test(.timeLimit(.minutes(30))) func nothingIsLostAndNothingLeaks() async throws {
        let seeds = Self.seeds
        print("simulations with seeds from \(seeds.lowerBound) on: \(seeds.count)")
        var counts: [String: Int] = [:]
        var steps = 0
        for seed in seeds {
            let simulation = Simulation(seed: seed, grace: Self.grace)
            await simulation.run()
            await simulation.checkNothingIsLost("at the end")
            await simulation.collectTheRest()
            await simulation.checkNothingIsLost("after the last collection")
            await simulation.checkNothingLeaks()
            steps += simulation.turns.steps
            let (problems, counted) = simulation.model.with { ($0.problems, $0.counts) }
            for (what, count) in counted { counts[what, default: 0] += count }
            counts["death", default: 0] += simulation.turns.deaths
            #expect(problems.isEmpty, "PERSSD_SEED=\(seed): \(problems.prefix(5))")
            if !problems.isEmpty { break }
        }
        print(
            "\(steps) steps: "
                + counts.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", "))
        // A simulation in which nothing happens proves nothing.
        guard seeds.count >= 50 else { return }
        for what in ["commit", "clone", "branch", "pack removed", "generation removed", "snapshot", "pin", "reader"] {
            #expect(counts[what, default: 0] >= seeds.count / 10, "hardly ever: \(what)")
        }
    }
}

struct Simulation {
    let store: MemoryStore
    let clock = TestClock()
    let turns: Turns
    let model = Model()
    let seed: UInt64
    let grace: Double

    init(seed: UInt64, grace: Double) {
        (self.seed, self.grace) = (seed, grace)
        store = MemoryStore(clock: clock)
        turns = Turns(seed: seed, clock: clock, grace: grace)
    }

    var catalog: Catalog { Catalog(store: store, now: { [clock] in clock.now }) }

    func run() async {
        store.intervene(after: { [model] call in
            if call.operation == .remove, call.path.contains("/generations/") { model.note(removed: call.path) }
        })
        defer { store.intervene() }
        let participants = Participants(
            store: store, turns: turns, clock: clock, model: model, grace: grace, works: 12)
        do { try await participants.prepare() } catch { return model.problem("cannot begin: \(error)") }
        let first = Participants.Kind.allCases.map { ($0, turns.join()) }
        await withTaskGroup(of: Void.self) { group in
            for (index, (kind, participant)) in first.enumerated() {
                let seed = seed &* 31 &+ UInt64(index)
                group.addTask { await participants.run(kind, seed: seed, first: participant) }
            }
            await turns.drive()
        }
    }

    /// All that somebody was told to have can be read, and is what it has to be.
    func checkNothingIsLost(_ when: String) async {
        let truth = model.with { $0 }
        for (id, incarnation) in truth.volumes {
            await check("volume \(id) \(when)") {
                let listing = try await catalog.volume(id)
                guard listing.record.incarnation == incarnation else {
                    throw PerSSDError(.internal, "it is another one")
                }
                // Its history can be read, as far as its retention says.
                let history = try await catalog.history(of: listing.head, limit: 100)
                let own = history.filter { $0.incarnation == incarnation }
                if let newest = listing.head.newest { try await require(newest) }
                if own.count == 1, let parent = own[0].parent, own[0].number > 1, parent.incarnation == incarnation {
                    throw PerSSDError(.internal, "only its newest is left, and \(Participants.policy) is kept")
                }
                for (index, record) in own.enumerated() {
                    try await require(index == 0 ? listing.head.newest : own[index - 1].parent, record)
                }
            }
        }
        for (id, generation) in truth.snapshots {
            await check("snapshot \(id) \(when)") {
                let snapshot = try await catalog.snapshot(id)
                guard snapshot.generation == generation else { throw PerSSDError(.internal, "it is another one") }
                try await require(generation)
            }
        }
        for (label, generation) in truth.pins.merging(truth.readers, uniquingKeysWith: { a, _ in a }) {
            await check("what \(label) pins \(when)") { try await require(generation) }
        }
        // Those of a volume that is deleted may go.
        for (path, kept) in truth.branches where truth.volumes[kept.volume] == kept.incarnation {
            await check("branch \(path) \(when)") {
                let branch = try GenerationRecord(decoding: store.bytes(path) ?? [], from: ObjectKey(path))
                try await require(branch, holds: kept.contents)
            }
        }
    }

    private func check(_ what: String, _ body: () async throws -> Void) async {
        do {
            try await body()
        } catch {
            model.problem("\(what): \(error)")
        }
    }

    private func require(_ reference: GenerationReference?, _ known: GenerationRecord? = nil) async throws {
        guard let reference else { return }
        // Across a gap the parent's reference is that of what has expired.
        guard known == nil || known?.number == reference.number else { return }
        guard let contents = model.with({ $0.contents[reference] }) else {
            throw PerSSDError(.internal, "\(reference) was never written")
        }
        try await require(try await catalog.generation(reference), holds: contents)
    }

    private func require(_ record: GenerationRecord, holds contents: Contents) async throws {
        let found = try await BucketReader(store: store).read(record.map, lineage: record.lineage).digests
        guard found == contents.map(Shape.digest) else {
            throw PerSSDError(.internal, "generation \(record.number) of \(record.volume) holds something else")
        }
    }

    func collectTheRest() async {
        let options = GarbageCollection.Options(
            grace: .seconds(Int(grace)), rewrittenBelowPercent: 60, rewrittenFromBytes: 0)
        for round in 0..<12 {
            clock.advance(2 * grace)
            do {
                let report = try await GarbageCollection(catalog: catalog, options: options).run()
                for failure in report.failures { model.problem("collection \(round): \(failure)") }
            } catch {
                model.problem("collection \(round): \(error)")
            }
        }
    }

    /// All that is in the bucket is there for a reason that is found without any code of the collection.
    func checkNothingLeaks() async {
        await check("leaks") {
            var generations: [GenerationReference: GenerationRecord] = [:]
            var heads: [Incarnation: Head] = [:]
            var wanted: Set<GenerationReference> = []
            var packs: Set<String> = []
            var keys: Set<String> = ["collection.json"]
            var lineages: Set<String> = []
            for path in store.keys {
                let key = try ObjectKey(path)
                guard let bytes = store.bytes(path) else { continue }
                if path.hasSuffix("/head.json") {
                    let head = try Head(decoding: bytes, from: key)
                    keys.insert(path)
                    if head.deletedAt == nil {
                        heads[head.incarnation] = head
                        if let newest = head.newest { wanted.insert(newest) }
                    }
                } else if path.hasSuffix("/volume.json") {
                    keys.insert(path)
                } else if path.hasPrefix("snapshots/") {
                    keys.insert(path)
                    let snapshot = try SnapshotRecord(decoding: bytes, from: key)
                    if snapshot.deletedAt == nil, let generation = snapshot.generation {
                        wanted.insert(generation)
                        lineages.insert(snapshot.lineage)
                    }
                } else if path.hasPrefix("pins/") {
                    keys.insert(path)
                    let pin = try PinRecord(decoding: bytes, from: key)
                    wanted.insert(pin.generation)
                    lineages.insert(pin.lineage)
                } else if path.hasPrefix("readers/") {
                    keys.insert(path)
                    let reader = try ReaderRecord(decoding: bytes, from: key)
                    wanted.insert(reader.generation)
                    lineages.insert(reader.lineage)
                } else if path.contains("/generations/") {
                    let record = try GenerationRecord(decoding: bytes, from: key)
                    generations[
                        GenerationReference(
                            volume: record.volume, incarnation: record.incarnation, number: record.number,
                            digest: SHA256.digest(bytes))] = record
                }
            }
            for (incarnation, head) in heads {
                let own = generations.keys.filter { $0.incarnation == incarnation }.sorted { $0.number > $1.number }
                let committed = own.filter { $0.number <= head.newest?.number ?? 0 }
                wanted.formUnion(own.filter { $0.number > head.newest?.number ?? 0 })
                wanted.formUnion(committed.prefix(Participants.policy.last))
                wanted.formUnion(committed.filter { $0.number == head.loss?.newestGeneration })
                if let path = try? CatalogKey.volume(head.volume), let bytes = store.bytes(path.path),
                    let origin = try VolumeRecord(decoding: bytes, from: path).origin?.generation,
                    committed.count < Participants.policy.last
                        || head.loss?.newestGeneration == origin.number
                {
                    wanted.insert(origin)
                }
                for snapshot in try await catalog.snapshots(after: nil, limit: 100)
                where snapshot.incarnation == incarnation {
                    wanted.formUnion(committed.filter { $0.number > snapshot.delivery?.after ?? .max })
                }
            }
            for (reference, record) in generations where wanted.contains(reference) {
                keys.insert(try CatalogKey.generation(record.volume, record.incarnation, record.number).path)
                lineages.insert(record.lineage)
                await reach(
                    record, &packs, isCommitted: record.number <= heads[record.incarnation]?.newest?.number ?? 0)
            }
            for path in store.keys where path.contains("/branches/") {
                let branch = try GenerationRecord(decoding: store.bytes(path) ?? [], from: ObjectKey(path))
                guard heads[branch.incarnation] != nil else { continue }
                keys.insert(path)
                lineages.insert(branch.lineage)
                await reach(branch, &packs, isCommitted: false)
            }
            for path in store.keys where path.hasSuffix("/volume.json") {
                let record = try VolumeRecord(decoding: store.bytes(path) ?? [], from: ObjectKey(path))
                if record.deletedAt == nil { lineages.insert(record.lineage) }
            }
            for lineage in lineages { keys.insert("lineages/\(lineage)/collection.json") }
            let leaked = store.keys.filter { !keys.contains($0) && !packs.contains($0) }
            if !leaked.isEmpty { throw PerSSDError(.internal, "\(leaked.count) objects leak: \(leaked.prefix(5))") }
        }
    }

    private func reach(_ record: GenerationRecord, _ packs: inout Set<String>, isCommitted: Bool) async {
        do {
            let found = try await BucketReader(store: store).read(
                record.map, lineage: record.lineage, isIncomplete: !isCommitted)
            packs.formUnion(found.packs.map { PackID.folder(lineage: record.lineage) + $0.description })
            packs.formUnion(found.tables.map { MovedPieces.folder(lineage: record.lineage) + $0.description })
        } catch {
            model.problem("leaks: \(error)")
        }
    }
}
