import Errors
import Persistence
import Testing
import TransferTestSupport

/// Cost follows change: what stage-outs read, send and ask for.
@Suite struct StageOutTests {
    private let block = TransferFixture.blockBytes

    /// 64 blocks in a tree of three levels with four children each.
    private func volume(_ seed: UInt64 = 1) -> [UInt8] {
        var random = SeededGenerator(seed: seed)
        return random.halfCompressible(64 * block)
    }

    @Test func nothingChangedAsksTheStoreNothing() async throws {
        let fixture = try await TransferFixture()
        let first = try await fixture.stageOut(MemoryVolume(volume()))
        fixture.store.resetCalls()
        let source = MemoryVolume(volume())
        let second = try await fixture.stageOut(source, .only([]), parent: first.root)
        #expect(second.root == first.root)
        #expect(fixture.store.calls.all == 0)
        #expect(source.reads.isEmpty)
    }

    @Test func anUnchangedVolumeIsReadAndNothingIsWritten() async throws {
        let fixture = try await TransferFixture()
        let first = try await fixture.stageOut(MemoryVolume(volume()))
        fixture.store.resetCalls()
        let second = try await fixture.stageOut(MemoryVolume(volume()), .unknown, parent: first.root)
        #expect(second.root == first.root)
        #expect(fixture.store.calls.writes == 0)
        #expect(second.statistics.blocksExamined == 64)
        #expect(second.statistics.blocksChanged == 0)
        // 21 nodes: one top, four inner, sixteen leaves.
        #expect(second.statistics.readRequests == 21)
    }

    @Test func aChangeToTheSameContentsKeepsTheParentsRoot() async throws {
        let fixture = try await TransferFixture()
        let first = try await fixture.stageOut(MemoryVolume(volume()))
        fixture.store.resetCalls()
        let same = try await fixture.stageOut(
            MemoryVolume(volume()), .only([0..<UInt64(block * 64)]), parent: first.root)
        #expect(same.root == first.root)
        #expect(fixture.store.calls.writes == 0)
    }

    @Test func oneChangedBlockWritesOneNodeOfEachLevelInOnePack() async throws {
        let fixture = try await TransferFixture()
        var bytes = volume()
        let first = try await fixture.stageOut(MemoryVolume(bytes))
        fixture.store.resetCalls()
        bytes[37 * block + 5] ^= 1
        let source = MemoryVolume(bytes)
        let at = UInt64(37 * block + 5)
        let second = try await fixture.stageOut(source, .only([at..<at + 1]), parent: first.root)
        #expect(second.statistics.nodesRead == 3)
        #expect(second.statistics.nodesWritten == 3)
        #expect(second.statistics.blocksChanged == 1)
        #expect(second.statistics.packsWritten == 1)
        #expect(fixture.store.calls.reads == 3)
        #expect(fixture.store.calls.all == 4)
        #expect(source.reads == [UInt64(37 * block)..<UInt64(38 * block)])
        expectEqual(try await fixture.restored(second.root), bytes)
    }

    @Test func aZeroedVolumeHasNoNodes() async throws {
        let fixture = try await TransferFixture()
        let first = try await fixture.stageOut(MemoryVolume(volume()))
        fixture.store.resetCalls()
        let zeros = MemoryVolume([UInt8](repeating: 0, count: 64 * block))
        let second = try await fixture.stageOut(zeros, .unknown, parent: first.root)
        #expect(second.root == .zeros(first.root.geometry))
        #expect(second.root.top == nil)
        // A sparse source says that nothing is allocated: no need to look at the parent.
        #expect(fixture.store.calls.all == 0)
        let sink = MemoryVolume(volume())
        try await fixture.restore(second.root, to: sink, have: .map(first.root))
        expectEqual(sink.bytes, zeros.bytes)
        #expect(sink.zeroed == [0..<UInt64(64 * block)])
    }

    @Test func zerosOfASourceThatCannotTellAreFound() async throws {
        let fixture = try await TransferFixture()
        var bytes = [UInt8](repeating: 0, count: 64 * block)
        bytes[20 * block] = 1
        let result = try await fixture.stageOut(MemoryVolume(bytes, isSparse: false))
        #expect(result.statistics.blocksZero == 63)
        #expect(result.root.totals.blocks == 1)
        #expect(result.root.allocatedBytes == UInt64(block))
    }

    @Test func equalBlocksAreStoredOnce() async throws {
        let fixture = try await TransferFixture()
        var random = SeededGenerator(seed: 3)
        let noise = random.noise(block)
        let bytes = Array(repeating: noise, count: 32).flatMap { $0 }
        var options = try TransferFixture.options()
        options.workers = 1
        let result = try await fixture.stageOut(MemoryVolume(bytes), options: options)
        #expect(result.statistics.blocksShared == 31)
        #expect(result.statistics.storedBytes == UInt64(block))
        expectEqual(try await fixture.restored(result.root), bytes)
    }

    @Test func equalContentsHaveEqualDigestsHoweverTheyAreStored() async throws {
        let fixture = try await TransferFixture()
        var bytes = volume()
        let first = try await fixture.stageOut(MemoryVolume(bytes))
        bytes[9 * block] ^= 1
        let patched = try await fixture.stageOut(
            MemoryVolume(bytes), .unknown, parent: first.root, base: MemoryVolume(volume()))
        #expect(patched.statistics.blocksPatched == 1)
        var options = try TransferFixture.options()
        options.compressionLevel = 7
        let whole = try await fixture.stageOut(MemoryVolume(bytes), options: options)
        #expect(patched.root.contentDigest == whole.root.contentDigest)
        #expect(patched.root.top?.piece != whole.root.top?.piece)
        #expect(first.root.contentDigest != whole.root.contentDigest)
    }

    @Test func patchesStackUpToFourAndThenTheBlockIsStoredAnew() async throws {
        let fixture = try await TransferFixture()
        var bytes = volume()
        var last = try await fixture.stageOut(MemoryVolume(bytes))
        var patched: [UInt64] = []
        for step in 0..<6 {
            let before = bytes
            bytes[5 * block + step * 5000] ^= 0xff
            last = try await fixture.stageOut(
                MemoryVolume(bytes), .unknown, parent: last.root, base: MemoryVolume(before))
            patched.append(last.statistics.blocksPatched)
            #expect(last.statistics.blocksChanged == 1)
            expectEqual(try await fixture.restored(last.root), bytes)
            let sound = try await fixture.verify(last.root)
            #expect(sound.isSound, "\(sound.findings)")
        }
        #expect(patched == [1, 1, 1, 1, 0, 1])
    }

    @Test func aBaseThatIsNotTheParentIsNotPatched() async throws {
        let fixture = try await TransferFixture()
        var bytes = volume()
        let first = try await fixture.stageOut(MemoryVolume(bytes))
        bytes[5 * block] ^= 0xff
        // Nearly the parent: a patch against it would be small, and wrong.
        var nearly = volume()
        nearly[5 * block + 20_000] ^= 1
        let result = try await fixture.stageOut(
            MemoryVolume(bytes), .unknown, parent: first.root, base: MemoryVolume(nearly))
        #expect(result.statistics.blocksPatched == 0)
        expectEqual(try await fixture.restored(result.root), bytes)
    }

    @Test func anExpandedVolumeKeepsWhatItHas() async throws {
        let fixture = try await TransferFixture()
        let bytes = volume()
        let first = try await fixture.stageOut(MemoryVolume(bytes))
        fixture.store.resetCalls()
        let larger = bytes + [UInt8](repeating: 0, count: 1000 * block)
        let second = try await fixture.stageOut(MemoryVolume(larger), .only([]), parent: first.root)
        #expect(second.root.geometry.levels == 6 && first.root.geometry.levels == 3)
        // Only the new levels above the old top.
        #expect(second.statistics.nodesWritten == 3)
        #expect(second.statistics.nodesRead == 0)
        #expect(second.root.totals.blocks == 64)
        expectEqual(try await fixture.restored(second.root), larger)
        let sink = MemoryVolume(larger)
        let statistics = try await fixture.restore(second.root, to: sink, have: .map(first.root))
        #expect(statistics.writtenBytes == 0)
        expectEqual(sink.bytes, larger)
    }

    @Test func whatLiesPastTheParentsEndIsLookedAtEvenWhereNobodyNamesIt() async throws {
        let fixture = try await TransferFixture()
        let bytes = volume()
        let first = try await fixture.stageOut(MemoryVolume(bytes))
        let larger = bytes + volume(5)
        let second = try await fixture.stageOut(MemoryVolume(larger), .only([]), parent: first.root)
        expectEqual(try await fixture.restored(second.root), larger)
    }

    @Test func packsKeepTheirSizeAndFollowTheData() async throws {
        let fixture = try await TransferFixture()
        var random = SeededGenerator(seed: 8)
        let result = try await fixture.stageOut(MemoryVolume(random.noise(128 * block)))
        let packs = try await fixture.packs()
        #expect(packs.allSatisfy { $0.size <= 1 << 20 })
        #expect(packs.count == 9)
        #expect(result.statistics.packsWritten == 9)
        #expect(result.statistics.sentBytes == packs.reduce(0) { $0 + $1.size })
        var reached = ReachedPacks()
        try await fixture.reader.collectPacks(of: result.root, into: &reached)
        #expect(
            Set(try reached.packs.keys.map { try $0.key(lineage: TransferFixture.lineage) }) == Set(packs.map(\.key)))
        let totals = result.root.totals
        #expect(reached.packs.values.reduce(0, +) == totals.blockBytes + totals.mapBytes)
        let indexed = try await fixture.reader.entries(of: try #require(reached.packs.keys.first))
        #expect(indexed.count > 0)
    }

    @Test func contradictionsAreRefused() async throws {
        let fixture = try await TransferFixture()
        let first = try await fixture.stageOut(MemoryVolume(volume()))
        var options = try TransferFixture.options()
        options.blockSize = try BlockSize(bytes: 128 << 10)
        let wrongBlocks = try await failure {
            try await fixture.stageOut(MemoryVolume(volume()), parent: first.root, options: options)
        }
        #expect(wrongBlocks.code == .invalidArgument && wrongBlocks.message.contains("128 KiB"))
        let shrunk = try await failure {
            try await fixture.stageOut(MemoryVolume(Array(volume().dropLast(512))), parent: first.root)
        }
        #expect(shrunk.code == .invalidArgument)
        let outside = try await failure {
            try await fixture.stageOut(
                MemoryVolume(volume()), .only([0..<UInt64(65 * block)]), parent: first.root)
        }
        #expect(outside.code == .invalidArgument && outside.message.contains("past the end"))
        let empty = try await failure { try await fixture.stageOut(MemoryVolume([])) }
        #expect(empty.code == .invalidArgument)
        options.packBytes = 1000
        let packs = try await failure { try await fixture.stageOut(MemoryVolume(volume()), options: options) }
        #expect(packs.code == .invalidArgument && packs.remedy != nil)
        let small = try await failure {
            try await fixture.restore(first.root, to: MemoryVolume([UInt8](repeating: 0, count: 63 * block)))
        }
        #expect(small.code == .outOfRange)
        let past = try await failure { _ = try await fixture.reader.read(first.root, 0..<UInt64(64 * block + 1)) }
        #expect(past.code == .outOfRange)
    }

    @Test func progressEndsWhereItSaidItWould() async throws {
        let fixture = try await TransferFixture()
        let stageOut = StageOut(
            store: fixture.store, lineage: TransferFixture.lineage, options: try TransferFixture.options())
        let result = try await stageOut.run(source: MemoryVolume(volume()), changed: .unknown, parent: nil)
        #expect(stageOut.meter.progress.totalBytes == UInt64(64 * block))
        #expect(stageOut.meter.progress.doneBytes == UInt64(64 * block))
        #expect(stageOut.meter.progress.transferredBytes == result.statistics.sentBytes)
        let restore = Restore(store: fixture.store, lineage: TransferFixture.lineage)
        let sink = MemoryVolume([UInt8](repeating: 0, count: 64 * block))
        try await restore.run(result.root, to: sink, have: .zeros)
        #expect(restore.meter.progress.totalBytes == UInt64(64 * block))
        #expect(restore.meter.progress.doneBytes == UInt64(64 * block))
    }
}
