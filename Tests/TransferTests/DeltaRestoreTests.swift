import Persistence
import Testing
import TransferTestSupport

/// Restores to what holds an older generation: what is fetched is what differs.
@Suite struct DeltaRestoreTests {
    private static let block = TransferFixture.blockBytes

    /// Generations of one volume, each with some pages changed in place since the one before.
    private struct History {
        var roots: [MapRoot] = []
        var contents: [[UInt8]] = []
        var statistics: [TransferStatistics] = []

        /// - Parameter changes: of each generation but the first, the bytes that change.
        init(_ fixture: TransferFixture, _ changes: [[Int]]) async throws {
            var generator = SeededGenerator(seed: 7)
            // The last block is not whole.
            var bytes = (0..<40 * block + 12_288).map { _ in UInt8.random(in: 1...255, using: &generator) }
            for change in [[]] + changes {
                let before = bytes
                for offset in change { bytes[offset] ^= 0xff }
                let result = try await fixture.stageOut(
                    MemoryVolume(bytes), .unknown, parent: roots.last, base: MemoryVolume(before))
                roots.append(result.root)
                contents.append(bytes)
                statistics.append(result.statistics)
            }
        }
    }

    @Test func aPatchedBlockIsBroughtUpToDateByItsPatchesAlone() async throws {
        let fixture = try await TransferFixture()
        let offsets = [3 * Self.block, 3 * Self.block + 30_000, 20 * Self.block + 5, 40 * Self.block + 4096]
        // Six times the same block: the chain of patches ends, and another one begins.
        let history = try await History(fixture, [offsets] + (0..<5).map { [3 * Self.block + 8192 * ($0 + 1)] })
        #expect(history.statistics.dropFirst().map(\.blocksPatched) == [2, 1, 1, 1, 0, 1])
        for (old, before) in history.contents.enumerated() {
            for (new, after) in history.contents.enumerated() where new > old {
                let sink = MemoryVolume(before)
                let statistics = try await fixture.restore(
                    history.roots[new], to: sink, have: .map(history.roots[old]))
                expectEqual(sink.bytes, after)
                let isNewChain = old < 5 && new >= 5
                let limit = UInt64(isNewChain || old == 0 ? 3 * Self.block : 12 * 4096)
                #expect(
                    statistics.receivedBytes < limit, "from \(old) to \(new): \(statistics.receivedBytes) bytes")
            }
        }
    }

    @Test func aSinkThatHoldsSomethingElseGetsTheWholeBlock() async throws {
        let fixture = try await TransferFixture()
        let history = try await History(fixture, [[3 * Self.block], [3 * Self.block + 9000]])
        var spoilt = history.contents[1]
        spoilt[3 * Self.block + 40_000] ^= 1
        let sink = MemoryVolume(spoilt)
        let statistics = try await fixture.restore(history.roots[2], to: sink, have: .map(history.roots[1]))
        expectEqual(sink.bytes, history.contents[2])
        #expect(statistics.receivedBytes > UInt64(Self.block) / 2)
    }
}
