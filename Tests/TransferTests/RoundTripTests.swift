import Persistence
import Testing
import TransferTestSupport

/// Volumes with random histories: what is restored is what was staged out, whichever way it went.
@Suite struct RoundTripTests {
    private struct Past {
        var root: MapRoot
        var bytes: [UInt8]
    }

    @Test(arguments: [UInt64](1...6)) func everyGenerationOfARandomHistoryComesBack(_ seed: UInt64) async throws {
        let fixture = try await TransferFixture()
        var random = SeededGenerator(seed: seed)
        let fanOutLog2: UInt8 = seed % 2 == 0 ? 2 : 3
        let options = try TransferFixture.options(fanOutLog2: fanOutLog2)
        var bytes = [UInt8](repeating: 0, count: Int.random(in: 1...40, using: &random) * 32768 + 512)
        var history: [Past] = []
        for step in 0..<6 {
            var changed: [Range<UInt64>] = []
            if step > 0, random.next() % 3 == 0 {
                bytes += [UInt8](repeating: 0, count: Int.random(in: 1...60, using: &random) * 4096)
            }
            for _ in 0..<Int.random(in: 0...5, using: &random) {
                changed.append(Self.change(&bytes, &random))
            }
            let parent = history.last
            let source = MemoryVolume(bytes, isSparse: random.next() % 2 == 0)
            let isKnown = random.next() % 2 == 0
            let base = random.next() % 2 == 0 ? parent.map { MemoryVolume($0.bytes) } : nil
            let result = try await fixture.stageOut(
                source, isKnown ? .only(changed.sorted { $0.lowerBound < $1.lowerBound }) : .unknown,
                parent: parent?.root, base: base, options: options)
            let digest = referenceContentDigest(
                bytes, blockSize: TransferFixture.blockBytes, fanOutLog2: Int(fanOutLog2))
            #expect(result.root.contentDigest == digest, "step \(step)")
            history.append(Past(root: result.root, bytes: bytes))
            try await check(fixture, history, &random)
        }
    }

    private static func change(_ bytes: inout [UInt8], _ random: inout SeededGenerator) -> Range<UInt64> {
        let start = Int.random(in: 0..<bytes.count, using: &random)
        let longest = random.next() % 2 == 0 ? 5000 : 400_000
        let end = min(bytes.count, start + Int.random(in: 1...longest, using: &random))
        bytes.replaceSubrange(start..<end, with: random.something(end - start))
        return UInt64(start)..<UInt64(end)
    }

    private func check(_ fixture: TransferFixture, _ history: [Past], _ random: inout SeededGenerator) async throws {
        let newest = history.last!
        expectEqual(try await fixture.restored(newest.root), newest.bytes, "a full restore")

        let larger = Int.random(in: 0...100_000, using: &random)
        let used = MemoryVolume(random.noise(newest.bytes.count + larger))
        try await fixture.restore(newest.root, to: used, have: .unknown)
        expectEqual(used.bytes, newest.bytes + [UInt8](repeating: 0, count: larger), "a restore over other data")
        #expect(used.isFlushed)

        // Forward and back in time, on a device that may be larger than either, with anything past the end.
        for (from, to) in [
            (history.randomElement(using: &random)!, newest), (newest, history.randomElement(using: &random)!),
        ] {
            let size = max(from.bytes.count, to.bytes.count) + larger
            let sink = MemoryVolume(from.bytes + random.noise(size - from.bytes.count))
            try await fixture.restore(to.root, to: sink, have: .map(from.root))
            expectEqual(sink.bytes, to.bytes + [UInt8](repeating: 0, count: size - to.bytes.count), "a delta restore")
        }

        let result = try await fixture.verify(newest.root)
        #expect(result.isSound, "\(result.findings)")
        #expect(result.statistics.blocksExamined == newest.root.totals.blocks)

        let old = history.randomElement(using: &random)!
        let differences = try await fixture.difference(of: newest.root, since: old.root).ranges()
        let expected = Self.differences(newest.bytes, old.bytes)
        #expect(differences == expected)
        let window = UInt64(2 * TransferFixture.blockBytes)..<UInt64(9 * TransferFixture.blockBytes)
        let within = try await fixture.difference(of: newest.root, since: old.root).ranges(within: window)
        #expect(within == expected.map { $0.clamped(to: window) }.filter { !$0.isEmpty })

        let start = Int.random(in: 0..<newest.bytes.count, using: &random)
        let end = Int.random(in: start...newest.bytes.count, using: &random)
        let part = try await fixture.reader.read(newest.root, UInt64(start)..<UInt64(end))
        expectEqual(part, Array(newest.bytes[start..<end]), "a part")
    }

    /// Block by block, from the bytes alone.
    private static func differences(_ new: [UInt8], _ old: [UInt8]) -> [Range<UInt64>] {
        let size = TransferFixture.blockBytes
        let end = max(new.count, old.count)
        func block(_ bytes: [UInt8], _ start: Int) -> [UInt8] {
            let part = start < bytes.count ? Array(bytes[start..<min(start + size, bytes.count)]) : []
            return part + [UInt8](repeating: 0, count: size - part.count)
        }
        var ranges: [Range<UInt64>] = []
        for start in stride(from: 0, to: end, by: size) where block(new, start) != block(old, start) {
            if let last = ranges.last, last.upperBound == UInt64(start) {
                ranges[ranges.count - 1] = last.lowerBound..<UInt64(min(start + size, end))
            } else {
                ranges.append(UInt64(start)..<UInt64(min(start + size, end)))
            }
        }
        return ranges
    }
}
