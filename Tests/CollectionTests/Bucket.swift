import CatalogTestSupport
import Errors
import Foundation
import Testing
import TransferTestSupport

@testable import Persistence

/// A bucket in memory whose clock a test sets, and volumes of eight blocks in it.
struct Bucket {
    let clock = TestClock()
    let store: MemoryStore
    let node: NodeReference
    static let grace = 3600.0

    init() throws {
        store = MemoryStore(clock: clock)
        node = try NodeReference(cluster: "c", node: "a")
    }

    var catalog: Catalog { Catalog(store: store, now: { [clock] in clock.now }) }

    func options(rewrittenBelowPercent: Int = 0) -> GarbageCollection.Options {
        .init(
            grace: .seconds(Int(Self.grace)), rewrittenBelowPercent: rewrittenBelowPercent,
            rewrittenFromBytes: 0)
    }

    func collection(rewrittenBelowPercent: Int = 0) -> GarbageCollection {
        GarbageCollection(catalog: catalog, options: options(rewrittenBelowPercent: rewrittenBelowPercent))
    }

    @discardableResult
    func collect(rewrittenBelowPercent: Int = 0) async throws -> CollectionReport {
        let report = try await collection(rewrittenBelowPercent: rewrittenBelowPercent).run()
        for failure in report.failures { throw failure }
        return report
    }

    /// Lets the grace period pass, and collects.
    @discardableResult
    func collectLater(rewrittenBelowPercent: Int = 0) async throws -> CollectionReport {
        clock.advance(Self.grace + 60)
        return try await collect(rewrittenBelowPercent: rewrittenBelowPercent)
    }

    func create(_ name: String, retention: String = "last=1", from source: CloneSource? = nil) async throws -> VolumeID
    {
        var parameters = VolumeParameters(blockSize: Shape.blockBytes)
        parameters.retention = RetentionPolicy(parsing: retention)
        return try await catalog.createVolume(
            NewVolume(
                name: name, requiredBytes: 0, limitBytes: 0, parameters: parameters, claim: nil, source: source)
        ).volume
    }

    func stageOut(_ contents: Contents, on parent: MapRoot?, lineage: String) async throws -> StageOutResult {
        let options = StageOutOptions(
            blockSize: try BlockSize(bytes: Shape.blockBytes), packBytes: 1 << 20, workers: 1, fanOutLog2: 2)
        return try await StageOut(store: store, lineage: lineage, options: options).run(
            source: MemoryVolume(Shape.bytes(contents)), changed: .unknown, parent: parent)
    }

    /// Commits another generation of a volume.
    @discardableResult
    func commit(_ id: VolumeID, _ contents: Contents) async throws -> GenerationReference {
        let head = try await catalog.updateHead(id) { try $0.opening(by: node, expectedEpoch: nil, now: start) }.value
        let record = try await prepare(head, contents)
        let reference = try await catalog.write(record.0, wrote: record.packs)
        _ = try await catalog.updateHead(id) {
            try $0.committing(reference, by: node, epoch: head.epoch, closing: true, now: start)
        }
        return reference
    }

    func prepare(_ head: Head, _ contents: Contents) async throws -> (GenerationRecord, packs: [PackID]) {
        let lineage = try await catalog.volume(head.volume).record.lineage
        var parent: MapRoot?
        if let newest = head.newest { parent = try await catalog.generation(newest).map }
        let staged = try await stageOut(contents, on: parent, lineage: lineage)
        return (
            GenerationRecord(
                volume: head.volume, incarnation: head.incarnation, lineage: lineage,
                number: (head.newest?.number ?? 0) + 1, parent: head.newest, epoch: head.epoch, map: staged.root,
                provenance: Provenance(
                    node: node, cutAt: clock.now, stagedOutAt: clock.now, readBytes: 0, changedBytes: 0, sentBytes: 0)),
            staged.packs
        )
    }

    func contents(_ reference: GenerationReference) async throws -> [UInt8] {
        let record = try await catalog.generation(reference)
        let sink = MemoryVolume([UInt8](repeating: 0, count: Int(record.map.capacityBytes)))
        try await Restore(store: store, lineage: record.lineage).run(record.map, to: sink, have: .zeros)
        return sink.bytes
    }

    var packs: [String] { store.keys.filter { $0.contains("/packs/") } }
    var generations: [String] { store.keys.filter { $0.contains("/generations/") } }

    func isHeld(_ reference: GenerationReference) async throws -> Bool {
        try await catalog.generationIfThere(reference) != nil
    }
}

/// Eight blocks, of which some are as before.
func contents(_ stamps: UInt64...) -> Contents {
    Contents(stamps.prefix(Shape.blocks)) + Contents(repeating: 0, count: max(0, Shape.blocks - stamps.count))
}
