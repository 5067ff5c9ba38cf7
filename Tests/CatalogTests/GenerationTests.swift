import CatalogTestSupport
import Digests
import Errors
import Foundation
import Testing

@testable import Persistence

@Suite struct GenerationTests {
    let store = MemoryStore()
    var catalog: Catalog { Catalog(store: store) }

    /// A volume that node "a" has open at epoch 1.
    private func opened() async throws -> Versioned<Head> {
        let id = try await catalog.createVolume(newVolume()).volume
        return try await catalog.updateHead(id) { try $0.opening(by: nodeA, expectedEpoch: nil, now: start) }
    }

    private func commit(_ head: Versioned<Head>, _ record: GenerationRecord) async throws -> Versioned<Head> {
        let reference = try await catalog.write(record, wrote: [])
        return try await catalog.updateHead(record.volume, known: head) {
            try $0.committing(
                reference, by: record.provenance.node, epoch: record.epoch, closing: false, now: start)
        }
    }

    private func path(_ head: Head, _ number: UInt64) throws -> String {
        try CatalogKey.generation(head.volume, head.incarnation, number).path
    }

    @Test func aRecordReadsBackAsItWasWritten() async throws {
        let head = try await opened().value
        let record = try generationRecord(of: head, readBytes: 17)
        let reference = try await catalog.write(record, wrote: [])
        #expect(reference.number == 1)
        #expect(reference.digest == SHA256.digest(store.bytes(try path(head, 1)) ?? []))
        #expect(try await catalog.generation(reference) == record)
    }

    @Test func writingTheSameTwiceIsOne() async throws {
        let head = try await opened().value
        let record = try generationRecord(of: head)
        let first = try await catalog.write(record, wrote: [])
        #expect(try await catalog.write(record, wrote: []) == first)
    }

    @Test func whatATryOfTheSameEpochLeftIsOverwritten() async throws {
        let head = try await opened()
        _ = try await catalog.write(try generationRecord(of: head.value, readBytes: 1), wrote: [])
        let second = try generationRecord(of: head.value, readBytes: 2)
        let after = try await commit(head, second)
        #expect(try await catalog.history(of: after.value, limit: 5) == [second])
    }

    @Test func whatAnOlderEpochLeftUncommittedIsOverwritten() async throws {
        let head = try await opened()
        _ = try await catalog.write(try generationRecord(of: head.value, readBytes: 1), wrote: [])
        let id = head.value.volume
        _ = try await catalog.updateHead(id) { $0.revoking(now: start) }
        let next = try await catalog.updateHead(id) { try $0.opening(by: nodeB, expectedEpoch: nil, now: start) }
        #expect(next.value.epoch == 3)
        let record = try generationRecord(of: next.value, by: nodeB, readBytes: 2)
        let after = try await commit(next, record)
        #expect(try await catalog.history(of: after.value, limit: 5) == [record])
    }

    @Test func whatANewerEpochWroteIsLeftAlone() async throws {
        let head = try await opened()
        let id = head.value.volume
        _ = try await catalog.updateHead(id) { $0.revoking(now: start) }
        let next = try await catalog.updateHead(id) { try $0.opening(by: nodeB, expectedEpoch: nil, now: start) }
        let reference = try await catalog.write(try generationRecord(of: next.value, by: nodeB), wrote: [])
        await expectError(.failedPrecondition, "epoch 3", "c/b", "epoch 1", "branch") {
            _ = try await catalog.write(try generationRecord(of: head.value, readBytes: 9), wrote: [])
        }
        #expect(try await catalog.generation(reference).epoch == 3)
    }

    @Test func aFencedNodeDoesNotEvenOverwriteItsOwn() async throws {
        let head = try await opened()
        _ = try await catalog.write(try generationRecord(of: head.value, readBytes: 1), wrote: [])
        _ = try await catalog.updateHead(head.value.volume) { $0.revoking(now: start) }
        await expectError(.failedPrecondition, "epoch 2", "epoch 1", "branch") {
            _ = try await catalog.write(try generationRecord(of: head.value, readBytes: 2), wrote: [])
        }
    }

    /// A node that committed, and died before it learned of it, stages out the same number again.
    @Test func whatIsCommittedIsNeverOverwritten() async throws {
        let head = try await opened()
        let record = try generationRecord(of: head.value, readBytes: 1)
        let after = try await commit(head, record)
        await expectError(.conflict, "generation 1", "committed") {
            _ = try await catalog.write(try generationRecord(of: head.value, readBytes: 2), wrote: [])
        }
        #expect(try await catalog.write(record, wrote: []) == after.value.newest)
        // Nor by the next holder, with an old idea of what is newest.
        let id = head.value.volume
        _ = try await catalog.updateHead(id) { $0.revoking(now: start) }
        let next = try await catalog.updateHead(id) { try $0.opening(by: nodeB, expectedEpoch: nil, now: start) }
        var late = try generationRecord(of: head.value, by: nodeB, readBytes: 3)
        late.epoch = next.value.epoch
        await expectError(.conflict, "generation 1", "committed") { _ = try await catalog.write(late, wrote: []) }
        #expect(try await catalog.history(of: next.value, limit: 5) == [record])
    }

    @Test func recordsOfAnotherLifeDoNotMeet() async throws {
        let old = try await opened().value
        let oldRecord = try generationRecord(of: old)
        _ = try await catalog.updateHead(old.volume) { $0.revoking(now: start) }
        try await catalog.deleteVolume(old.volume)
        let new = try await opened()
        let record = try generationRecord(of: new.value)
        let after = try await commit(new, record)
        // A slow writer of the former life writes beside it.
        let late = try await catalog.write(oldRecord, wrote: [])
        #expect(late.incarnation != new.value.incarnation)
        #expect(try await catalog.history(of: after.value, limit: 5) == [record])
    }

    // MARK: History

    private func history(of count: Int) async throws -> Versioned<Head> {
        var head = try await opened()
        for number in 0..<count {
            head = try await commit(head, try generationRecord(of: head.value, readBytes: UInt64(number)))
        }
        return head
    }

    @Test func historyIsNewestFirstAndLimited() async throws {
        let head = try await history(of: 4).value
        #expect(try await catalog.history(of: head, limit: 10).map(\.number) == [4, 3, 2, 1])
        #expect(try await catalog.history(of: head, limit: 2).map(\.number) == [4, 3])
        #expect(try await catalog.history(of: emptyHead(), limit: 10).isEmpty)
    }

    @Test func aMissingRecordIsNamed() async throws {
        let head = try await history(of: 3).value
        let key = try path(head, 2)
        store.overwrite(key, nil)
        await expectError(.corrupt, key, "missing", "generation 2", "backup") {
            _ = try await catalog.history(of: head, limit: 10)
        }
        #expect(try await catalog.history(of: head, limit: 1).count == 1)
    }

    @Test func aSwappedRecordIsNoticed() async throws {
        let head = try await history(of: 3).value
        let (one, two) = (try path(head, 1), try path(head, 2))
        let bytes = store.bytes(one)
        store.overwrite(two, bytes)
        await expectError(.corrupt, two, "SHA-256") { _ = try await catalog.history(of: head, limit: 10) }
    }

    @Test func everyFlippedBitIsNoticed() async throws {
        let head = try await history(of: 2).value
        let key = try path(head, 1)
        let bytes = try #require(store.bytes(key))
        for index in stride(from: 0, to: bytes.count, by: 7) {
            var damaged = bytes
            damaged[index] ^= 1
            store.overwrite(key, damaged)
            await expectError(.corrupt, key) { _ = try await catalog.history(of: head, limit: 10) }
        }
    }

    // MARK: Branches

    @Test func branchesAreKeptByEpoch() async throws {
        let head = try await history(of: 1).value
        for (epoch, bytes) in [(10 as UInt64, 1 as UInt64), (9, 2), (10, 3)] {
            try await catalog.writeBranch(
                try generationRecord(of: head, epoch: epoch, readBytes: bytes), wrote: [], base: nil)
        }
        let branches = try await catalog.branches(of: head.volume, head.incarnation)
        #expect(branches.map(\.epoch) == [9, 10])
        #expect(branches.map(\.provenance.readBytes) == [2, 3])
        #expect(try await catalog.branches(of: head.volume, Incarnation()).isEmpty)
        // They are no part of the history.
        #expect(try await catalog.history(of: head, limit: 10).count == 1)
    }

    @Test func aBranchInAnotherOnesPlaceIsRefused() async throws {
        let head = try await opened().value
        try await catalog.writeBranch(try generationRecord(of: head, epoch: 1), wrote: [], base: nil)
        let wrong = try CatalogKey.branch(head.volume, head.incarnation, epoch: 2)
        store.overwrite(
            wrong.path, store.bytes(try CatalogKey.branch(head.volume, head.incarnation, epoch: 1).path))
        await expectError(.corrupt, wrong.path) {
            _ = try await catalog.branches(of: head.volume, head.incarnation)
        }
    }
}
