import CatalogTestSupport
import Errors
import Persistence
import Testing

@Suite struct ExpansionTests {
    let store = MemoryStore()
    var catalog: Catalog { Catalog(store: store) }

    @Test func raisesTheCapacityOnceAndNothingElse() async throws {
        let made = try await catalog.createVolume(newVolume())
        let grown = try await catalog.expandVolume(made.volume, requiredBytes: (100 << 20) + 1, limitBytes: 0)
        var expected = made
        expected.capacityBytes = 104 << 20
        #expect(grown == expected)
        #expect(try await catalog.volume(made.volume).record == expected)
        store.forgetCalls()
        for required in [0, 1, 100 << 20, 104 << 20] as [Int64] {
            #expect(
                try await catalog.expandVolume(made.volume, requiredBytes: required, limitBytes: 104 << 20) == expected)
        }
        #expect(try await catalog.createVolume(newVolume()) == expected)
        #expect(!store.calls.contains { $0.operation == .write })
    }

    @Test func neverShrinks() async throws {
        let volume = try await catalog.createVolume(newVolume()).volume
        await expectError(.outOfRange, "do not shrink") {
            _ = try await catalog.expandVolume(volume, requiredBytes: 0, limitBytes: (64 << 20) - 1)
        }
        await expectError(.outOfRange, "below required_bytes") {
            _ = try await catalog.expandVolume(volume, requiredBytes: 80 << 20, limitBytes: 72 << 20)
        }
        await expectError(.outOfRange, "no multiple") {
            _ = try await catalog.expandVolume(volume, requiredBytes: (64 << 20) + 1, limitBytes: (64 << 20) + 2)
        }
        await expectError(.outOfRange, "largest") {
            _ = try await catalog.expandVolume(volume, requiredBytes: .max, limitBytes: 0)
        }
        await expectError(.invalidArgument, "-1") {
            _ = try await catalog.expandVolume(volume, requiredBytes: -1, limitBytes: 0)
        }
        #expect(try await catalog.volume(volume).record.capacityBytes == 64 << 20)
    }

    @Test func theLargestOfManyAtOnceStands() async throws {
        let volume = try await catalog.createVolume(newVolume()).volume
        try await withThrowingTaskGroup(of: Void.self) { group in
            for step in 1...20 as ClosedRange<Int64> {
                group.addTask { [catalog] in
                    let bytes = (64 + step * 4) << 20
                    let grown = try await catalog.expandVolume(volume, requiredBytes: bytes, limitBytes: 0)
                    #expect(grown.capacityBytes >= UInt64(bytes))
                }
            }
            try await group.waitForAll()
        }
        #expect(try await catalog.volume(volume).record.capacityBytes == 144 << 20)
    }

    @Test func whatIsDeletedDoesNotGrow() async throws {
        let first = try await catalog.createVolume(newVolume())
        try await catalog.deleteVolume(first.volume)
        await expectError(.notFound) {
            _ = try await catalog.expandVolume(first.volume, requiredBytes: 1 << 30, limitBytes: 0)
        }
        let second = try await catalog.createVolume(newVolume())
        await expectError(.notFound) {
            _ = try await catalog.expandVolume(
                first.volume, incarnation: first.incarnation, requiredBytes: 1 << 30, limitBytes: 0)
        }
        #expect(try await catalog.volume(first.volume).record == second)
    }
}
