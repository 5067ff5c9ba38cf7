import CatalogTestSupport
import Digests
import Errors
import Foundation
import Testing

@testable import Persistence

@Suite struct HistoryCheckTests {
    let store = MemoryStore()
    var catalog: Catalog { Catalog(store: store) }

    /// A volume with four generations, each of which `change` may make other than it should be.
    private func history(_ change: (inout GenerationRecord) throws -> Void = { _ in }) async throws -> Head {
        let volume = try await catalog.createVolume(newVolume())
        let id = volume.volume
        var head = try await catalog.updateHead(id) { try $0.opening(by: nodeA, expectedEpoch: nil, now: start) }
        for _ in 0..<4 {
            var record = try generationRecord(of: head.value)
            record.lineage = volume.lineage
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

    /// What checking finds once some records have been replaced by other bytes, or removed.
    private func check(_ head: Head, with objects: [UInt64: [UInt8]?]) async throws -> HistoryCheck {
        var original: [UInt64: [UInt8]?] = [:]
        for (number, bytes) in objects {
            original[number] = store.bytes(try path(head, number))
            store.overwrite(try path(head, number), bytes)
        }
        let found = try await catalog.checkHistory(of: head)
        for (number, bytes) in original { store.overwrite(try path(head, number), bytes) }
        return found
    }

    private func expectFindings(
        _ check: HistoryCheck, _ texts: [[String]], sourceLocation: SourceLocation = #_sourceLocation
    ) {
        #expect(check.findings.count == texts.count, "\(check.findings)", sourceLocation: sourceLocation)
        for (finding, words) in zip(check.findings, texts) {
            for word in words { #expect(finding.description.contains(word), sourceLocation: sourceLocation) }
        }
    }

    @Test func whatIsWrongIsToldWithItsNumberAndTheRestIsLookedAt() async throws {
        let head = try await history()
        let records = try (1...4).map { try #require(store.bytes(try path(head, UInt64($0)))) }

        // Changed, though still a record.
        var found = try await check(head, with: [2: records[1] + [0x0a]])
        expectFindings(found, [["generation 2 of", "SHA-256 differs"]])
        #expect(found.generations == 3 && found.unproved == 1 && found.oldest == 3)
        // Missing: the newest of those below is taken as it is.
        found = try await check(head, with: [3: nil])
        expectFindings(found, [["generation 3 of", "missing"]])
        #expect(found.generations == 3 && found.unproved == 2 && found.oldest == 4)
        found = try await check(head, with: [3: nil, 2: nil])
        expectFindings(found, [["generation 3 of", "missing"], ["generation 2 of", "missing"]])
        #expect(found.generations == 2 && found.unproved == 1)
        found = try await check(head, with: [1: nil])
        expectFindings(found, [["generation 1 of", "missing"]])
        #expect(found.generations == 3 && found.unproved == 0 && found.oldest == 2)
        // Exchanged for another record of the volume.
        found = try await check(head, with: [3: records[1], 2: records[2]])
        expectFindings(
            found,
            [["generation 3 of", "that of generation 2"], ["generation 2 of", "says that it is generation 3"]])
        #expect(found.oldest == 4)
        // Several at once, the newest among them.
        found = try await check(head, with: [4: Array("{}".utf8), 2: records[1] + [0x20]])
        expectFindings(
            found, [["generation 4 of", "no record of a generation"], ["generation 2 of", "SHA-256 differs"]])
        #expect(found.generations == 2 && found.unproved == 2 && found.oldest == nil)
        #expect(try await catalog.checkHistory(of: head).isSound)
    }

    @Test func whatExpiredIsNoDamageAndProvesWhatIsBelow() async throws {
        let head = try await history()
        let all = try await catalog.provenHistory(of: head, limit: 10).map(\.reference)
        try await catalog.expire(all[1], kept: [all[3], all[2]], phase: .idle)
        let sound = try await catalog.checkHistory(of: head)
        #expect(sound.isSound && sound.generations == 3 && sound.expired == 1 && sound.oldest == 1)
        // Above the gap, below it, and one that was to be kept.
        var found = try await check(head, with: [4: nil])
        expectFindings(found, [["generation 4 of", "missing"]])
        #expect(found.generations == 2 && found.unproved == 0)
        found = try await check(head, with: [2: nil])
        expectFindings(found, [["generation 2 of", "missing"]])
        #expect(found.generations == 2 && found.unproved == 0 && found.expired == 1)
    }

    @Test func aClonesHistoryGoesOnInItsOriginsBelowADamagedRecord() async throws {
        let origin = try await history()
        let clone = try await catalog.createVolume(newVolume("clone", required: 0, source: .volume(origin.volume)))
        let head = try await catalog.commitOne(clone.volume)
        let sound = try await catalog.checkHistory(of: head)
        #expect(sound.isSound && sound.generations == 5)
        let found = try await check(head, with: [5: nil])
        expectFindings(found, [["generation 5 of \(clone.volume)", "missing"]])
        // The clone's own record names where it began.
        #expect(found.generations == 4 && found.unproved == 0)

        // So it is with a clone of the clone.
        let second = try await catalog.createVolume(newVolume("second", required: 0, source: .volume(clone.volume)))
        let last = try await catalog.commitOne(second.volume)
        for (damaged, number) in [(head, UInt64(5)), (last, 6)] {
            let path = try path(damaged, number)
            let bytes = store.bytes(path)
            store.overwrite(path, nil)
            let found = try await catalog.checkHistory(of: last)
            expectFindings(found, [["generation \(number) of \(damaged.volume)", "missing"]])
            #expect(found.generations == 5 && found.unproved == 0)
            store.overwrite(path, bytes)
        }
    }

    @Test func aHeadThatNamesWhatCannotBeIsDamageAndNoMore() async throws {
        var head = try await history()
        for (number, findings) in [(UInt64(0), 1...1), (1, 1...1), (.max, 2...1001)] {
            head.newest?.number = number
            store.overwrite(try CatalogKey.head(head.volume).path, try head.encoded())
            let found = try await catalog.checkHistory(of: head)
            #expect(findings.contains(found.findings.count), "\(found.findings.count) for \(number)")
        }
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
        try await expect("has generation 0 of") {
            if $0.number == 1 {
                $0.parent = GenerationReference(
                    volume: $0.volume, incarnation: $0.incarnation, number: 0, digest: SHA256.digest(""))
            }
        }
        try await expect("has nothing as its parent") { if $0.number == 3 { $0.parent = nil } }
    }
}
