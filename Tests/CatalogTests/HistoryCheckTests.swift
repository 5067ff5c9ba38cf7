import CatalogTestSupport
import Errors
import Foundation
import Testing

@testable import Persistence

@Suite struct HistoryCheckTests {
    let store = MemoryStore()
    var catalog: Catalog { Catalog(store: store) }

    /// A volume with four generations, each of which `change` may make other than it should be.
    private func history(_ change: (inout GenerationRecord) throws -> Void = { _ in }) async throws -> Head {
        let id = try await catalog.createVolume(newVolume()).volume
        var head = try await catalog.updateHead(id) { try $0.opening(by: nodeA, expectedEpoch: nil, now: start) }
        for _ in 0..<4 {
            var record = try generationRecord(of: head.value)
            try change(&record)
            let reference = try await catalog.write(record, wrote: [])
            head = try await catalog.updateHead(id, known: head) {
                try $0.committing(reference, by: nodeA, epoch: $0.epoch, closing: false, now: start)
            }
        }
        return head.value
    }

    private func path(_ head: Head, _ number: UInt64) throws -> String {
        try CatalogKey.generation(head.volume, head.incarnation, number).path
    }

    @Test func aWholeChainIsSound() async throws {
        let head = try await history()
        let check = try await catalog.checkHistory(of: head)
        #expect(check.isSound && check.generations == 4 && check.oldest == 1)
        let empty = try await catalog.checkHistory(of: emptyHead())
        #expect(empty.isSound && empty.generations == 0 && empty.oldest == nil)
    }

    @Test func theChainEndsAtARecordThatIsMissingOrAnother() async throws {
        let head = try await history()
        let second = try #require(store.bytes(try path(head, 2)))
        for (bytes, words) in [(nil, "missing"), (second + [0x0a], "SHA-256 differs")] as [([UInt8]?, String)] {
            store.overwrite(try path(head, 2), bytes)
            let check = try await catalog.checkHistory(of: head)
            #expect(check.generations == 2 && check.oldest == 3)
            #expect(check.findings.count == 1)
            #expect(check.findings.first?.description.contains("generation 2") == true)
            #expect(check.findings.first?.description.contains(words) == true, "\(check.findings)")
        }
        store.overwrite(try path(head, 4), Array("{}".utf8))
        let check = try await catalog.checkHistory(of: head)
        #expect(!check.isSound && check.generations == 0 && check.oldest == nil)
    }

    /// Records whose digests are all right, as only whoever wrote them could have made them.
    @Test func recordsThatContradictEachOtherAreFound() async throws {
        func expect(_ words: String, _ change: @escaping (inout GenerationRecord) throws -> Void) async throws {
            let bench = HistoryCheckTests()
            let head = try await bench.history(change)
            let found = try await bench.catalog.checkHistory(of: head).findings
            #expect(found.count == 1 && found.first?.message.contains(words) == true, "\(words): \(found)")
        }
        try await expect("of another lineage than generation 2") {
            if $0.number == 1 { $0.lineage = String(repeating: "a", count: 32) }
        }
        try await expect("volumes do not shrink") {
            let capacity: UInt64 = $0.number < 3 ? 128 << 20 : 64 << 20
            $0.map = .zeros(try MapGeometry(blockSize: .standard, capacityBytes: capacity))
        }
        try await expect("other blocks than generation 4") {
            let blockSize: BlockSize = $0.number < 4 ? .standard : .smallest
            $0.map = .zeros(try MapGeometry(blockSize: blockSize, capacityBytes: 64 << 20))
        }
        // A parent that is left out.
        var first: GenerationReference?
        try await expect("has generation 1 of") {
            if $0.number == 2 { first = $0.parent }
            if $0.number == 3 { $0.parent = first }
        }
        try await expect("has nothing as its parent") { if $0.number == 3 { $0.parent = nil } }
    }
}
