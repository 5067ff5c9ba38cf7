import Errors
import Testing
import TransferTestSupport

@testable import Persistence

/// A generation read here and there.
@Suite struct VolumeReaderTests {
    private func reader(_ fixture: TransferFixture, _ root: MapRoot) -> VolumeReader {
        VolumeReader(StoredMap(root: root, store: fixture.store, lineage: TransferFixture.lineage))
    }

    private static func volume(_ random: inout SeededGenerator, blocks: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        for _ in 0..<blocks { bytes += random.something(TransferFixture.blockBytes) }
        return Array(bytes.dropLast(4096))
    }

    @Test(arguments: [UInt64](1...3)) func whatIsReadIsWhatWasStagedOut(seed: UInt64) async throws {
        let fixture = try await TransferFixture()
        var random = SeededGenerator(seed: seed)
        var bytes = Self.volume(&random, blocks: 90)
        let first = try await fixture.stageOut(MemoryVolume(bytes))
        let before = bytes
        for _ in 0..<20 { bytes[Int.random(in: 0..<bytes.count, using: &random)] ^= 1 }
        let second = try await fixture.stageOut(MemoryVolume(bytes), parent: first.root, base: MemoryVolume(before))
        let reader = reader(fixture, second.root)
        for _ in 0..<60 {
            let start = Int.random(in: 0..<bytes.count, using: &random)
            let end = min(bytes.count, start + Int.random(in: 0...300_000, using: &random))
            let part = try await reader.read(UInt64(start)..<UInt64(end))
            expectEqual(part, Array(bytes[start..<end]), "bytes \(start) to \(end)")
        }
        let past = try await failure { _ = try await reader.read(0..<UInt64(bytes.count + 1)) }
        #expect(past.code == .outOfRange)
    }

    @Test func onlyWhatIsAskedForIsFetchedAndThatOnce() async throws {
        let fixture = try await TransferFixture()
        var random = SeededGenerator(seed: 5)
        let bytes = random.noise(256 * TransferFixture.blockBytes)
        let root = try await fixture.stageOut(MemoryVolume(bytes)).root
        let reader = reader(fixture, root)
        let block = UInt64(TransferFixture.blockBytes)
        fixture.store.resetCalls()
        // Four levels of the map, and the block.
        _ = try await reader.read(100 * block..<100 * block + 10)
        #expect(fixture.store.calls.reads == 5)
        _ = try await reader.read(100 * block + 500..<101 * block)
        #expect(fixture.store.calls.reads == 5)
        // Whoever goes on to the next block gets some more in few requests.
        for number in 101..<(101 + 32) as Range<UInt64> {
            let part = try await reader.read(number * block..<(number + 1) * block)
            expectEqual(part, Array(bytes[Int(number * block)..<Int((number + 1) * block)]))
        }
        // 9 leaves and 3 nodes above them are new, at the most, and 4 portions of 8 blocks.
        #expect(fixture.store.calls.reads <= 5 + 12 + 4 * 3)
    }

    @Test func whatIsDamagedIsNotHandedOut() async throws {
        let fixture = try await TransferFixture()
        var random = SeededGenerator(seed: 6)
        let root = try await fixture.stageOut(MemoryVolume(random.noise(8 * TransferFixture.blockBytes))).root
        let pack = try #require(try await fixture.packs().first).key
        var stored = try #require(try await fixture.store.read(pack)).bytes
        stored[200] ^= 1
        _ = try await fixture.store.write(pack, stored, condition: .none)
        let reader = reader(fixture, root)
        let error = try await failure { _ = try await reader.read(0..<root.capacityBytes) }
        #expect(error.code == .corrupt && error.description.contains(pack.path), "\(error)")
    }

    @Test func whatWasNotUsedForLongestGoes() {
        var kept = RecentlyUsed<Int, Int?>(capacity: 2)
        kept[1] = 10
        kept[2] = .some(nil)
        #expect(kept[1] == 10)
        kept[3] = 30
        #expect(kept[2] == nil && kept[1] == 10 && kept[3] == 30)
        kept[4] = .some(nil)
        #expect(kept[4] == .some(nil) && kept[1] == nil)
    }
}
