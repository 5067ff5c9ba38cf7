import CatalogTestSupport
import Digests
import Errors
import Foundation
import Testing

@testable import Persistence

let start = Date(timeIntervalSince1970: 1_700_000_000)
let nodeA = node("a")
let nodeB = node("b")
let readWrite = Lease.Publication(accessMode: "SINGLE_NODE_WRITER", accessType: "mount", readOnly: false)
let readOnly = Lease.Publication(accessMode: "SINGLE_NODE_WRITER", accessType: "mount", readOnly: true)

func node(_ name: String, cluster: String = "c") -> NodeReference {
    // The names here are valid.
    try! NodeReference(cluster: cluster, node: name)
}

func newVolume(
    _ name: String = "pvc-1", required: Int64 = 64 << 20, limit: Int64 = 0,
    parameters: VolumeParameters = VolumeParameters(), claim: VolumeRecord.Claim? = nil, source: CloneSource? = nil
) -> NewVolume {
    NewVolume(
        name: name, requiredBytes: required, limitBytes: limit, parameters: parameters, claim: claim, source: source)
}

func emptyHead() -> Head { Head(volume: VolumeID(name: "pvc-1"), incarnation: Incarnation()) }

/// The only place here that knows what a block map's root is made of.
func someMap() throws -> MapRoot {
    .zeros(try MapGeometry(blockSize: BlockSize(bytes: 262_144), capacityBytes: 64 << 20))
}

func generationRecord(
    of head: Head, by node: NodeReference = nodeA, epoch: UInt64? = nil, readBytes: UInt64 = 0
) throws -> GenerationRecord {
    GenerationRecord(
        volume: head.volume, incarnation: head.incarnation, lineage: "0123456789abcdef0123456789abcdef",
        number: (head.newest?.number ?? 0) + 1, parent: head.newest, epoch: epoch ?? head.epoch, map: try someMap(),
        provenance: Provenance(
            node: node, cutAt: start, stagedOutAt: start, readBytes: readBytes, changedBytes: 0, sentBytes: 0))
}

extension Catalog {
    /// Commits another generation of a volume, which is closed before and afterwards.
    @discardableResult
    func commitOne(
        _ id: VolumeID, by node: NodeReference = nodeA, closing: Bool = true, cutAt: Date = start
    ) async throws -> Head {
        let lineage = try await volume(id).record.lineage
        let head = try await updateHead(id) { try $0.opening(by: node, expectedEpoch: nil, now: start) }
        var record = try generationRecord(of: head.value, by: node)
        record.lineage = lineage
        record.provenance.cutAt = cutAt
        let reference = try await write(record, wrote: [])
        return try await updateHead(id, known: head) {
            try $0.committing(reference, by: node, epoch: head.value.epoch, closing: closing, now: start)
        }.value
    }

    /// Removes a generation's record as a collection does, which notes it first.
    func expire(_ reference: GenerationReference, kept: [GenerationReference], phase: CollectionRecord.Phase)
        async throws
    {
        let lineage = try await generation(reference).lineage
        var record = CollectionRecord(lineage: lineage, since: start)
        record.phase = phase
        record.generations = phase == .idle ? [] : [reference]
        if phase == .idle {
            record.histories = [
                .init(
                    volume: reference.volume, incarnation: reference.incarnation, through: reference.number,
                    kept: kept.map { .init(number: $0.number, digest: $0.digest) }, changedAt: start)
            ]
            try await store.remove(CatalogKey.generation(reference.volume, reference.incarnation, reference.number))
        }
        _ = try await save(record, at: CatalogKey.collection(lineage: lineage), condition: .none)
    }
}

/// A reference to a generation that follows a head's newest one, for steps that never look into the bucket.
func nextGeneration(of head: Head, salt: String = "") -> GenerationReference {
    let number = (head.newest?.number ?? 0) + 1
    return GenerationReference(
        volume: head.volume, incarnation: head.incarnation, number: number, digest: SHA256.digest("\(number)\(salt)"))
}

/// That `body` throws a `PerSSDError` of this code, whose text has all of `words` in it.
func expectError(
    _ code: PerSSDError.Code, _ words: String..., sourceLocation: SourceLocation = #_sourceLocation,
    _ body: () async throws -> Void
) async {
    do {
        try await body()
        Issue.record("no error, where \(code) is expected", sourceLocation: sourceLocation)
    } catch {
        check(error, code, words, sourceLocation)
    }
}

/// The same for code that does not wait.
func expectRefusal(
    _ code: PerSSDError.Code, _ words: String..., sourceLocation: SourceLocation = #_sourceLocation,
    _ body: () throws -> Void
) {
    do {
        try body()
        Issue.record("no error, where \(code) is expected", sourceLocation: sourceLocation)
    } catch {
        check(error, code, words, sourceLocation)
    }
}

private func check(_ error: any Error, _ code: PerSSDError.Code, _ words: [String], _ location: SourceLocation) {
    guard let error = error as? PerSSDError else {
        Issue.record("another kind of error: \(error)", sourceLocation: location)
        return
    }
    #expect(error.code == code, "\(error)", sourceLocation: location)
    for word in words {
        #expect(error.description.contains(word), "'\(word)' is not in: \(error)", sourceLocation: location)
    }
}
