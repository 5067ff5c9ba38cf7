import CatalogTestSupport
import Foundation
import Testing

@testable import Persistence

@Suite struct ProvenanceTests {
    let store = MemoryStore()
    var catalog: Catalog { Catalog(store: store) }

    private func use(_ number: Int, ended: Bool = true) -> VolumeUse {
        VolumeUse(
            pod: .init(namespace: "lab", name: "step-\(number)", uid: "uid-\(number)", serviceAccount: "runner"),
            labels: ["run": "\(number)"], isReadOnly: false, startedAt: start.addingTimeInterval(Double(number)),
            endedAt: ended ? start.addingTimeInterval(Double(number) + 1) : nil)
    }

    private func provenance(_ uses: [VolumeUse]) -> Provenance {
        Provenance(
            node: nodeA, startedAt: start, cutAt: start, stagedOutAt: start, readBytes: 1, changedBytes: 2,
            sentBytes: 3,
            uses: uses)
    }

    @Test func whoHadAVolumeIsReadBackAsItWasWritten() async throws {
        let id = try await catalog.createVolume(newVolume()).volume
        let head = try await catalog.updateHead(id) { try $0.opening(by: nodeA, expectedEpoch: nil, now: start) }
        var record = try generationRecord(of: head.value)
        record.provenance = provenance([use(1), use(2, ended: false)])
        let reference = try await catalog.write(record, wrote: [])
        #expect(try await catalog.generation(reference) == record)
        let text = String(
            decoding: try #require(store.bytes(try CatalogKey.generation(id, head.value.incarnation, 1).path)),
            as: UTF8.self)
        for words in ["\"serviceAccount\" : \"runner\"", "\"run\" : \"2\"", "\"uid\" : \"uid-1\""] {
            #expect(text.contains(words), "\(text)")
        }
    }

    @Test func aRecordOfAnOlderVersionSaysNothingOfItAndIsReadAllTheSame() async throws {
        let id = try await catalog.createVolume(newVolume()).volume
        let head = try await catalog.updateHead(id) { try $0.opening(by: nodeA, expectedEpoch: nil, now: start) }
        let record = try generationRecord(of: head.value)
        let bytes = try record.encoded()
        let text = String(decoding: bytes, as: UTF8.self)
        // As it was always written.
        for key in ["uses", "omittedUses", "startedAt"] { #expect(!text.contains(key), "\(text)") }
        let key = try CatalogKey.generation(id, head.value.incarnation, 1)
        let read = try GenerationRecord(decoding: bytes, from: key)
        #expect(read == record && read.provenance.uses == nil && read.provenance.startedAt == nil)
    }

    @Test func theLatestUsesAreNamedAndAllAreCounted() {
        let few = provenance((1...Provenance.usesLimit).map { use($0) })
        #expect(few.uses?.count == Provenance.usesLimit && few.omittedUses == nil)
        let many = provenance((1...Provenance.usesLimit + 5).map { use($0) })
        #expect(many.uses?.first?.pod?.name == "step-6" && many.uses?.count == Provenance.usesLimit)
        #expect(many.omittedUses == 5)
        #expect(provenance([]).uses == nil)
    }
}
