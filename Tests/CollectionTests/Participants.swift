import CatalogTestSupport
import Errors
import Foundation
import Persistence
import TransferTestSupport

/// What happens in a simulation: each kind of participant does one thing after the other, until it has done enough of them
/// or has died; then it begins anew, having forgotten everything.
struct Participants: Sendable {
    enum Kind: Sendable, CaseIterable { case nodeA, nodeB, volumes, snapshots, pins, collectorA, collectorB }

    let store: MemoryStore
    let turns: Turns
    let clock: TestClock
    let model: Model
    let grace: Double
    let works: Int

    static let names = ["v0", "v1", "c0", "c1", "c2"]
    static let policy = RetentionPolicy(last: 2)

    func run(_ kind: Kind, seed: UInt64, first: Int) async {
        var generator = SeededGenerator(seed: seed)
        var left = kind == .nodeA || kind == .nodeB || kind == .pins ? 3 * works : works
        var participant = first
        while left > 0 {
            let store = ParticipantStore(base: store, turns: turns, participant: participant)
            let catalog = Catalog(store: store, now: { [clock] in clock.now })
            while left > 0, !turns.isDead(participant) {
                left -= 1
                do {
                    try await work(kind, catalog, &generator)
                } catch let error as PerSSDError {
                    note(error, of: kind, isDead: turns.isDead(participant))
                } catch {
                    model.problem("\(kind): \(error)")
                }
            }
            let old = participant
            if left > 0 { participant = turns.join() }
            turns.leave(old)
        }
    }

    private func note(_ error: PerSSDError, of kind: Kind, isDead: Bool) {
        guard !isDead else { return }
        // What was there may have gone between two looks at it; what must not be missing is checked from outside.
        switch error.code {
        case .notFound, .failedPrecondition, .alreadyExists, .aborted, .conflict, .unavailable: break
        case .corrupt where kind == .nodeA || kind == .nodeB: model.count("a fenced node found its base gone")
        default: model.problem("\(kind): \(error)")
        }
    }

    private func work(_ kind: Kind, _ catalog: Catalog, _ generator: inout SeededGenerator) async throws {
        switch kind {
        case .nodeA, .nodeB:
            let node = try NodeReference(cluster: "c", node: kind == .nodeA ? "a" : "b")
            try await write(as: node, catalog, &generator)
        case .volumes: try await changeVolumes(catalog, &generator)
        case .snapshots: try await changeSnapshots(catalog, &generator)
        case .pins: try await changePins(catalog, &generator)
        case .collectorA, .collectorB:
            let options = GarbageCollection.Options(
                grace: .seconds(Int(grace)), lineagesAtOnce: 2, removalsAtOnce: 2, rewrittenBelowPercent: 60,
                rewrittenFromBytes: 0)
            let report = try await GarbageCollection(catalog: catalog, options: options).run()
            for _ in report.removed.packs { model.count("pack removed") }
            for _ in report.removed.generations { model.count("generation removed") }
            for lineage in report.lineages where !lineage.spared.isEmpty { model.count("spared") }
            for lineage in report.lineages where !lineage.rewritten.isEmpty { model.count("rewritten") }
        }
    }

    /// Mostly one that is there.
    private func anyVolume(_ generator: inout SeededGenerator) -> VolumeID {
        let choice = generator.next()
        let there = model.with { $0.volumes.keys.sorted() }
        if !there.isEmpty, choice % 8 > 0 { return there[Int(choice / 8 % UInt64(there.count))] }
        return VolumeID(name: Self.names[Int(choice / 8 % UInt64(Self.names.count))])
    }

    /// So that there is something to begin with.
    func prepare() async throws {
        var generator = SeededGenerator(seed: 1)
        let catalog = Catalog(store: store, now: { [clock] in clock.now })
        for name in ["v0", "v1"] {
            let made = try await catalog.createVolume(Self.new(name, from: nil))
            model.with { $0.volumes[made.volume] = made.incarnation }
        }
        for _ in 0..<3 { try await write(as: NodeReference(cluster: "c", node: "a"), catalog, &generator) }
    }

    private static func new(_ name: String, from source: CloneSource?) -> NewVolume {
        var parameters = VolumeParameters(blockSize: Shape.blockBytes)
        parameters.retention = policy
        return NewVolume(
            name: name, requiredBytes: 0, limitBytes: 0, parameters: parameters, claim: nil, source: source)
    }

    // MARK: - Nodes

    private func write(as node: NodeReference, _ catalog: Catalog, _ generator: inout SeededGenerator) async throws {
        let id = anyVolume(&generator)
        let listing = try await catalog.volume(id)
        let head = try await catalog.updateHead(id, incarnation: listing.record.incarnation) {
            try $0.opening(by: node, expectedEpoch: nil, now: start)
        }.value
        let parent: GenerationRecord?
        if let newest = head.newest { parent = try await catalog.generation(newest) } else { parent = nil }
        let before = head.newest.flatMap { newest in model.with { $0.contents[newest] } } ?? Shape.empty
        var snapshot: SnapshotID?
        if generator.next() % 4 == 0 {
            let name = "n\(node.node)\(generator.next() % 3)"
            let id = SnapshotID(name: name)
            model.with { _ = $0.snapshots.removeValue(forKey: id) }
            try await catalog.deleteSnapshot(id)
            let made = try await catalog.createSnapshot(name: name, of: head.volume)
            if made.delivery?.epoch == head.epoch { snapshot = id }
        }
        var contents = before
        for _ in 0...generator.next() % 3 {
            contents[Int(generator.next() % UInt64(Shape.blocks))] = generator.next() % 6 == 0 ? 0 : model.freshStamp()
        }
        let cutAt = catalog.time
        for _ in 0..<2 {
            do {
                let generation = try await commit(
                    contents, on: parent, head, lineage: listing.record.lineage, by: node, cutAt: cutAt, catalog)
                if let snapshot {
                    let made = try await catalog.makeReady(
                        snapshot, generation, cutAt: cutAt, by: node, epoch: head.epoch)
                    model.with { $0.snapshots[made.snapshot] = made.generation }
                    model.count("snapshot of a published volume")
                }
                return
            } catch let error as PerSSDError where error.code == .aborted {
                model.count("stage-out done again")
            } catch let error as PerSSDError where error.code == .failedPrecondition {
                return try await keepBranch(contents, on: parent, head, listing, by: node, cutAt: cutAt, catalog)
            }
        }
    }

    private func stageOut(
        _ contents: Contents, on parent: GenerationRecord?, lineage: String, _ catalog: Catalog
    ) async throws -> StageOutResult {
        let options = StageOutOptions(
            blockSize: try BlockSize(bytes: Shape.blockBytes), packBytes: 1 << 20, packsInMemory: 2, workers: 1,
            fanOutLog2: 2)
        return try await StageOut(store: catalog.store, lineage: lineage, options: options).run(
            source: MemoryVolume(Shape.bytes(contents)), changed: .unknown, parent: parent?.map)
    }

    private func record(
        _ map: MapRoot, number: UInt64, parent: GenerationReference?, _ head: Head, lineage: String,
        by node: NodeReference, cutAt: Date
    ) -> GenerationRecord {
        GenerationRecord(
            volume: head.volume, incarnation: head.incarnation, lineage: lineage, number: number, parent: parent,
            epoch: head.epoch, map: map,
            provenance: Provenance(
                node: node, cutAt: cutAt, stagedOutAt: cutAt, readBytes: model.freshStamp(), changedBytes: 0,
                sentBytes: 0))
    }

    private func commit(
        _ contents: Contents, on parent: GenerationRecord?, _ head: Head, lineage: String, by node: NodeReference,
        cutAt: Date, _ catalog: Catalog
    ) async throws -> GenerationReference {
        let staged = try await stageOut(contents, on: parent, lineage: lineage, catalog)
        let generation = record(
            staged.root, number: (head.newest?.number ?? 0) + 1, parent: head.newest, head, lineage: lineage, by: node,
            cutAt: cutAt)
        let reference = try await catalog.write(generation, wrote: staged.packs)
        model.with { $0.contents[reference] = contents }
        _ = try await catalog.updateHead(head.volume, incarnation: head.incarnation) {
            try $0.committing(reference, by: node, epoch: head.epoch, closing: true, now: start)
        }
        model.count("commit")
        return reference
    }

    private func keepBranch(
        _ contents: Contents, on base: GenerationRecord?, _ head: Head, _ listing: VolumeListing,
        by node: NodeReference, cutAt: Date, _ catalog: Catalog
    ) async throws {
        var base = base
        for _ in 0..<2 {
            let staged: StageOutResult
            do {
                staged = try await stageOut(contents, on: base, lineage: listing.record.lineage, catalog)
            } catch let error as PerSSDError where error.code == .corrupt {
                base = nil
                continue
            }
            let branch = record(
                staged.root, number: (head.newest?.number ?? 0) + 1, parent: nil, head,
                lineage: listing.record.lineage, by: node, cutAt: cutAt)
            do {
                try await catalog.writeBranch(branch, wrote: staged.packs, base: base)
                let key = "volumes/\(head.volume)/branches/\(head.incarnation)/\(head.epoch).json"
                let kept = Model.Branch(volume: head.volume, incarnation: head.incarnation, contents: contents)
                model.with { $0.branches[key] = kept }
                return model.count("branch")
            } catch let error as PerSSDError where error.code == .aborted {
                model.count("branch done again")
                base = nil
            }
        }
    }

    // MARK: - Controllers

    private func changeVolumes(_ catalog: Catalog, _ generator: inout SeededGenerator) async throws {
        let name = Self.names[Int(generator.next() % UInt64(Self.names.count))]
        let id = VolumeID(name: name)
        switch generator.next() % 12 {
        case 0:
            // A lease whose holder may be dead stands in the way; its work becomes a branch.
            _ = try? await catalog.updateHead(id) { $0.revoking(now: start) }
            model.with { _ = $0.volumes.removeValue(forKey: id) }
            try await catalog.deleteVolume(id)
        case 1, 2, 3: _ = try await catalog.updateHead(id) { $0.revoking(now: start) }
        default:
            var source: CloneSource?
            if name.hasPrefix("c") {
                source =
                    generator.next() % 2 == 0
                    ? .volume(anyVolume(&generator)) : .snapshot(SnapshotID(name: "s\(generator.next() % 3)"))
                if case .volume(id) = source { return }
            }
            let made = try await catalog.createVolume(Self.new(name, from: source))
            model.with { $0.volumes[id] = made.incarnation }
            if source != nil { model.count("clone") }
        }
    }

    private func changeSnapshots(_ catalog: Catalog, _ generator: inout SeededGenerator) async throws {
        let name = "s\(generator.next() % 3)"
        let id = SnapshotID(name: name)
        if generator.next() % 3 == 0 {
            model.with { _ = $0.snapshots.removeValue(forKey: id) }
            try await catalog.deleteSnapshot(id)
        } else {
            let made = try await catalog.createSnapshot(name: name, of: anyVolume(&generator))
            if let generation = made.generation {
                model.with { $0.snapshots[id] = generation }
                model.count("snapshot")
            }
        }
    }

    private func changePins(_ catalog: Catalog, _ generator: inout SeededGenerator) async throws {
        let id = anyVolume(&generator)
        let node = try NodeReference(cluster: "c", node: "reader")
        switch generator.next() % 4 {
        case 0:
            model.with { truth in
                for key in truth.readers.keys where key.hasPrefix("\(id)") { truth.readers[key] = nil }
            }
            try await catalog.removeReaders(node, of: id)
        case 1:
            model.with { _ = $0.pins.removeValue(forKey: "\(id)") }
            try await catalog.unpin("label", of: id)
        default:
            let listing = try await catalog.volume(id)
            // One of the history, which may be about to expire.
            let history = try await catalog.history(of: listing.head, limit: 3)
            guard let newest = listing.head.newest, !history.isEmpty else { return }
            let index = Int(generator.next() % UInt64(history.count))
            let chosen = index == 0 ? newest : history[index - 1].parent
            guard let chosen else { return }
            if generator.next() % 2 == 0 {
                try await catalog.addReader(
                    node, of: id, listing.record.incarnation, lineage: listing.record.lineage, generation: chosen)
                model.with { $0.readers["\(id) \(chosen.incarnation) \(chosen.number)"] = chosen }
                model.count("reader")
            } else {
                try await catalog.pin(chosen, of: id, lineage: listing.record.lineage, label: "label")
                model.with { $0.pins["\(id)"] = chosen }
                model.count("pin")
            }
        }
    }
}

let start = Date(timeIntervalSince1970: 1_700_000_000)
