import CatalogTestSupport
import Errors
import Foundation
import Synchronization
import Testing

@testable import Persistence

/// Two nodes and a controller at work on one bucket at the same time, through the catalog.
@Suite struct ConcurrentWritersTests {
    /// One node's life: it opens the volume, commits some generations, and closes, again and again; whatever is refused,
    /// it takes for the end of its lease.
    private func work(_ node: NodeReference, _ catalog: Catalog, _ id: VolumeID, rounds: Int) async throws -> Int {
        var commits = 0
        for round in 0..<rounds {
            do {
                var head = try await catalog.updateHead(id) {
                    try $0.opening(by: node, expectedEpoch: nil, now: catalog.time)
                }
                let epoch = head.value.epoch
                for step in 0..<Int.random(in: 1...3) {
                    let record = try generationRecord(
                        of: head.value, by: node, epoch: epoch, readBytes: UInt64(round * 10 + step))
                    let reference = try await catalog.write(record, wrote: [])
                    head = try await catalog.updateHead(id, known: head) {
                        try $0.committing(reference, by: node, epoch: epoch, closing: false, now: catalog.time)
                    }
                    commits += 1
                }
                _ = try await catalog.updateHead(id) { try $0.closing(by: node, epoch: epoch, now: catalog.time) }
            } catch let error as PerSSDError where error.code == .failedPrecondition || error.code == .conflict {
                await Task.yield()
            }
        }
        return commits
    }

    private func control(_ catalog: Catalog, _ id: VolumeID, rounds: Int) async throws {
        for _ in 0..<rounds {
            let node = Bool.random() ? nodeA : nodeB
            let kind = Int.random(in: 0..<4)
            do {
                _ = try await catalog.updateHead(id) { head in
                    switch kind {
                    case 0: try head.granting(to: node, as: readWrite, now: catalog.time)
                    case 1: try head.releasing(from: node)
                    case 2: head.revoking(now: catalog.time)
                    default: head.requestingDetach(from: nil, holderSeenAt: nil, now: catalog.time)
                    }
                }
            } catch let error as PerSSDError where error.code == .failedPrecondition || error.code == .aborted {
                await Task.yield()
            }
        }
    }

    @Test func whateverComesBetweenTheHistoryIsOneChain() async throws {
        let store = MemoryStore()
        let epochs = Mutex<[UInt64]>([])
        store.intervene(
            before: { _ in for _ in 0..<Int.random(in: 0..<4) { await Task.yield() } },
            after: { call in
                guard call.operation == .write, call.path.hasSuffix("head.json") else { return }
                let bytes = store.bytes(call.path) ?? []
                let epoch = try Head(decoding: bytes, from: ObjectKey(call.path)).epoch
                epochs.withLock { $0.append(epoch) }
            })
        let catalog = Catalog(store: store)
        let volume = try await catalog.createVolume(newVolume()).volume
        async let a = work(nodeA, catalog, volume, rounds: 120)
        async let b = work(nodeB, catalog, volume, rounds: 120)
        async let c: Void = control(catalog, volume, rounds: 200)
        let commits = try await a + b
        try await c
        store.intervene()

        let head = try await catalog.head(volume).value
        let history = try await catalog.history(of: head, limit: .max)
        #expect(commits > 20, "too few to say anything: \(commits)")
        // Each commit that was acknowledged is there, once, and nothing else.
        #expect(history.count == commits)
        #expect(history.map(\.number) == (1...UInt64(commits)).reversed())
        let committedAt = history.reversed().map(\.epoch)
        #expect(committedAt == committedAt.sorted(), "an older epoch committed after a newer one")
        for pair in zip(history, history.dropFirst()) where pair.0.epoch == pair.1.epoch {
            #expect(pair.0.provenance.node == pair.1.provenance.node, "two writers in one epoch")
        }
        #expect(epochs.withLock { $0 }.max() == head.epoch)
    }

    /// A step is decided on the head that stands, not on the one that was seen first.
    @Test func aLostRaceIsDecidedAnew() async throws {
        for index in 0..<2 {
            let store = MemoryStore()
            let catalog = Catalog(store: store)
            let id = try await catalog.createVolume(newVolume()).volume
            let reached = try await store.interrupting(
                at: index,
                with: {
                    _ = try await catalog.updateHead(id) { try $0.granting(to: nodeB, as: readWrite, now: start) }
                },
                {
                    await expectError(.failedPrecondition, "c/b") {
                        _ = try await catalog.updateHead(id) { try $0.granting(to: nodeA, as: readWrite, now: start) }
                    }
                })
            #expect(reached)
        }
    }

    @Test func aRefusalThatRestsOnAnOldHeadIsTakenBack() async throws {
        let catalog = Catalog(store: MemoryStore())
        let id = try await catalog.createVolume(newVolume()).volume
        let old = try await catalog.updateHead(id) { try $0.granting(to: nodeB, as: readWrite, now: start) }
        _ = try await catalog.updateHead(id) { try $0.releasing(from: nodeB) }
        let head = try await catalog.updateHead(id, known: old) {
            try $0.granting(to: nodeA, as: readWrite, now: start)
        }
        #expect(head.value.lease?.holder == nodeA)
        #expect(head.value.epoch == 2)
    }

    @Test func aStepThatChangesNothingOnAnOldHeadLooksAgain() async throws {
        let catalog = Catalog(store: MemoryStore())
        let id = try await catalog.createVolume(newVolume()).volume
        let old = try await catalog.head(id)
        _ = try await catalog.updateHead(id) { try $0.granting(to: nodeB, as: readWrite, now: start) }
        let head = try await catalog.updateHead(id, known: old) { try $0.releasing(from: nodeB) }
        #expect(head.value.lease == nil)
        #expect(head.value.epoch == 1)
    }

    @Test func anOldHeadOfAFormerLifeIsNotTakenForTheEnd() async throws {
        let catalog = Catalog(store: MemoryStore())
        let id = try await catalog.createVolume(newVolume()).volume
        let old = try await catalog.head(id)
        try await catalog.deleteVolume(id)
        let incarnation = try await catalog.createVolume(newVolume()).incarnation
        let head = try await catalog.updateHead(id, incarnation: incarnation, known: old) {
            try $0.granting(to: nodeA, as: readWrite, now: start)
        }
        #expect(head.value.incarnation == incarnation)
        await expectError(.notFound) {
            _ = try await catalog.updateHead(id, incarnation: old.value.incarnation) { $0.revoking(now: start) }
        }
    }

    @Test func aKnownHeadSavesTheRead() async throws {
        let store = MemoryStore()
        let catalog = Catalog(store: store)
        let id = try await catalog.createVolume(newVolume()).volume
        let known = try await catalog.head(id)
        store.forgetCalls()
        _ = try await catalog.updateHead(id, known: known) { try $0.granting(to: nodeA, as: readWrite, now: start) }
        #expect(store.calls.map(\.operation) == [.write])
    }
}
