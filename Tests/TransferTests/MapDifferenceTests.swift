import Errors
import Persistence
import Synchronization
import Testing
import TransferTestSupport

/// Differences of maps, held against a comparison block by block.
@Suite struct MapDifferenceTests {
    private static let block = TransferFixture.blockBytes

    /// A volume of which each block holds one byte over and over, the last one perhaps not whole.
    private struct Pattern {
        var blocks: [UInt8]
        var missing = 0

        var bytes: [UInt8] {
            var bytes = [UInt8](repeating: 0, count: blocks.count * block)
            for (number, value) in blocks.enumerated() where value != 0 {
                bytes.replaceSubrange(number * block..<(number + 1) * block, with: repeatElement(value, count: block))
            }
            return Array(bytes.dropLast(missing))
        }

        var capacity: UInt64 { UInt64(blocks.count * block - missing) }

        /// The byte that a block holds, and how many of it before the volume ends.
        private func contents(of number: Int) -> [Int] {
            guard number < blocks.count, blocks[number] != 0 else { return [0, 0] }
            return [Int(blocks[number]), min(block, Int(capacity) - number * block)]
        }

        /// The blocks that differ from those of `other`, as ranges of bytes, with no code of what is tested.
        func differences(from other: Pattern?, within window: Range<UInt64> = 0..<UInt64.max) -> [Range<UInt64>] {
            let end = max(capacity, other?.capacity ?? 0)
            var ranges: [Range<UInt64>] = []
            for number in 0..<max(blocks.count, other?.blocks.count ?? 0) {
                let range = UInt64(number * block)..<min(UInt64((number + 1) * block), end)
                guard contents(of: number) != other?.contents(of: number) ?? [0, 0], range.overlaps(window) else {
                    continue
                }
                if let last = ranges.last, last.upperBound == range.lowerBound {
                    ranges[ranges.count - 1] = last.lowerBound..<range.upperBound
                } else {
                    ranges.append(range)
                }
            }
            return ranges
        }
    }

    private func stageOut(
        _ pattern: Pattern, in fixture: TransferFixture, parent: MapRoot? = nil, fanOutLog2: UInt8 = 2
    ) async throws -> MapRoot {
        try await fixture.stageOut(
            MemoryVolume(pattern.bytes), parent: parent, options: TransferFixture.options(fanOutLog2: fanOutLog2)
        ).root
    }

    @Test(arguments: [UInt64](1...8)) func randomMapsDifferAsTheirBlocksDo(_ seed: UInt64) async throws {
        var random = SeededGenerator(seed: seed)
        let fixture = try await TransferFixture()
        let fanOutLog2: UInt8 = seed % 2 == 0 ? 2 : 3
        // From nearly all zeros to nearly none; from one leaf to several levels.
        let zeros = Int.random(in: 0...9, using: &random)
        var patterns: [(pattern: Pattern, root: MapRoot)] = []
        var pattern = Pattern(blocks: [])
        for _ in 0..<4 {
            pattern.missing = Int.random(in: 0..<Self.block / 4096, using: &random) * 4096
            for _ in 0..<Int.random(in: 1...50, using: &random) {
                let isZero = Int.random(in: 0..<10, using: &random) < zeros
                pattern.blocks.append(isZero ? 0 : UInt8.random(in: 1...2, using: &random))
            }
            for _ in 0..<Int.random(in: 0...6, using: &random) {
                let start = Int.random(in: 0..<pattern.blocks.count, using: &random)
                let end = min(pattern.blocks.count, start + Int.random(in: 1...9, using: &random))
                let value = UInt8.random(in: 0...3, using: &random)
                for number in start..<end { pattern.blocks[number] = value }
            }
            let root = try await stageOut(
                pattern, in: fixture, parent: patterns.last?.root, fanOutLog2: fanOutLog2)
            patterns.append((pattern, root))
        }
        for new in patterns {
            for old in patterns + [nil] {
                let difference = try fixture.difference(of: new.root, since: old?.root)
                let expected = new.pattern.differences(from: old?.pattern)
                #expect(try await difference.ranges() == expected)

                let from = UInt64.random(in: 0...new.pattern.capacity, using: &random)
                let to = UInt64.random(in: from...(2 * new.pattern.capacity), using: &random)
                for window in [from..<to, from..<UInt64.max, 0..<to] {
                    let within = try await difference.ranges(within: window)
                    #expect(within == new.pattern.differences(from: old?.pattern, within: window), "\(window)")
                }

                let limit = Int.random(in: 1...(expected.count + 1), using: &random)
                let found = Mutex<[Range<UInt64>]>([])
                let isComplete = try await difference.run(limit: limit) { range in found.withLock { $0.append(range) } }
                #expect(found.withLock { $0 } == Array(expected.prefix(limit)))
                #expect(isComplete == (expected.count <= limit))
            }
        }
    }

    private func nodesRead(
        _ fixture: TransferFixture, of new: MapRoot, since old: MapRoot?, within window: Range<UInt64>? = nil
    ) async throws -> (nodes: UInt64, ranges: [Range<UInt64>]) {
        let meter = TransferMeter()
        let ranges = try await fixture.difference(of: new, since: old, meter: meter).ranges(within: window)
        #expect(meter.statistics.readRequests == meter.statistics.nodesRead, "something else than nodes was read")
        return (meter.statistics.nodesRead, ranges)
    }

    @Test func onlyNodesThatDifferAreRead() async throws {
        let fixture = try await TransferFixture()
        // Four levels with a fan-out of four.
        var pattern = Pattern(blocks: (0..<256).map { UInt8($0 % 3 + 1) })
        let first = try await stageOut(pattern, in: fixture)
        #expect(try await nodesRead(fixture, of: first, since: first).nodes == 0)
        // Nowhere zeros: the sums in the root say all.
        let all = try await nodesRead(fixture, of: first, since: nil)
        #expect(all.nodes == 0 && all.ranges == [0..<pattern.capacity])

        pattern.blocks[101] = 9
        let second = try await stageOut(pattern, in: fixture, parent: first)
        #expect(try await nodesRead(fixture, of: second, since: first).nodes == 2 * 4)
        // A neighbour in the same leaf costs nothing; one in the leaf beside, two leaves.
        pattern.blocks[102] = 9
        let third = try await stageOut(pattern, in: fixture, parent: second)
        #expect(try await nodesRead(fixture, of: third, since: first).nodes == 2 * 4)
        pattern.blocks[104] = 9
        let fourth = try await stageOut(pattern, in: fixture, parent: third)
        #expect(try await nodesRead(fixture, of: fourth, since: first).nodes == 2 * 5)
        // What is outside of the window is not looked into.
        pattern.blocks[250] = 9
        let fifth = try await stageOut(pattern, in: fixture, parent: fourth)
        #expect(try await nodesRead(fixture, of: fifth, since: first).nodes == 2 * (5 + 3))
        let end = try await nodesRead(fixture, of: fifth, since: first, within: UInt64(200 * Self.block)..<UInt64.max)
        #expect(end.nodes == 2 * 4 && end.ranges == [UInt64(250 * Self.block)..<UInt64(251 * Self.block)])

        // One hole: the way to it is read, on one side.
        pattern.blocks[7] = 0
        let holed = try await stageOut(pattern, in: fixture, parent: fifth)
        let allocated = try await nodesRead(fixture, of: holed, since: nil)
        #expect(allocated.nodes == 4 && allocated.ranges.count == 2)
    }

    @Test func aVolumeThatGrewIsComparedWithItsTopAsTheLeftmostDescendant() async throws {
        let fixture = try await TransferFixture()
        var pattern = Pattern(blocks: [UInt8](repeating: 1, count: 16))
        let small = try await stageOut(pattern, in: fixture)
        pattern.blocks += [UInt8](repeating: 0, count: 984)
        let grown = try await stageOut(pattern, in: fixture, parent: small)
        // The way down to the old top, which is the same node.
        let nothing = try await nodesRead(fixture, of: grown, since: small)
        #expect(nothing.ranges.isEmpty && nothing.nodes == 3)
        pattern.blocks[3] = 2
        for number in 500..<1000 { pattern.blocks[number] = 2 }
        let used = try await stageOut(pattern, in: fixture, parent: grown)
        let block = UInt64(Self.block)
        let expected = [3 * block..<4 * block, 500 * block..<1000 * block]
        for pair in [(used, small), (small, used), (used, grown)] {
            #expect(try await nodesRead(fixture, of: pair.0, since: pair.1).ranges == expected)
        }
        // Of what is new all over, only the way to its beginning.
        #expect(try await nodesRead(fixture, of: used, since: small).nodes <= 5 + 2 + 4)
    }

    @Test func whoTakesRangesSlowlyIsNotOverrun() async throws {
        let fixture = try await TransferFixture()
        let pattern = Pattern(blocks: (0..<1024).map { UInt8($0 % 2) })
        let root = try await stageOut(pattern, in: fixture)
        let all = try await nodesRead(fixture, of: root, since: nil).nodes
        #expect(all == 256 + 64 + 16 + 4 + 1)
        fixture.store.resetCalls()
        let counts = Mutex<[Int]>([])
        try await fixture.difference(of: root, since: nil).run { _ in
            try await Task.sleep(for: .milliseconds(1))
            counts.withLock { $0.append(fixture.store.calls.reads) }
        }
        let reads = counts.withLock { $0 }
        #expect(reads.count == 512)
        #expect(reads[0] < 32, "\(reads[0]) nodes were read for the first range")
        // Each leaf has two ranges; what is read is at most so many leaves ahead, and the nodes above them.
        for (number, reads) in reads.enumerated() { #expect(reads <= (number / 2 + 10) * 4 / 3 + 8) }
    }

    @Test func itEndsWhereItIsCancelledAndWhereSomethingFails() async throws {
        let fixture = try await TransferFixture()
        let pattern = Pattern(blocks: (0..<256).map { UInt8($0 % 2) })
        let root = try await stageOut(pattern, in: fixture)
        let difference = try fixture.difference(of: root, since: nil)

        fixture.store.resetCalls()
        fixture.store.failRead(20, .stuck)
        let reader = Task { try await difference.ranges() }
        while fixture.store.calls.reads <= 20 { try await Task.sleep(for: .milliseconds(2)) }
        reader.cancel()
        #expect(try await failure { _ = try await reader.value }.code == .cancelled)
        #expect(fixture.store.running == 0)
        fixture.store.heal()

        fixture.store.resetCalls()
        fixture.store.failRead(20, .before)
        #expect(try await failure { _ = try await difference.ranges() }.code == .unavailable)
        fixture.store.heal()

        let enough = PerSSDError(.aborted, "enough")
        let error = try await failure { _ = try await difference.run { _ in throw enough } }
        #expect(error.code == .aborted && fixture.store.running == 0)
    }

    @Test func generationsOfDifferentLineagesAreCompared() async throws {
        let fixture = try await TransferFixture()
        var pattern = Pattern(blocks: [UInt8](repeating: 1, count: 40))
        let here = try await stageOut(pattern, in: fixture)
        pattern.blocks[17] = 2
        let other = String(TransferFixture.lineage.reversed())
        let there = try await StageOut(store: fixture.store, lineage: other, options: TransferFixture.options()).run(
            source: MemoryVolume(pattern.bytes), changed: .unknown, parent: nil
        ).root
        let difference = try MapDifference(
            of: StoredMap(root: there, store: fixture.store, lineage: other),
            since: StoredMap(root: here, store: fixture.store, lineage: TransferFixture.lineage))
        #expect(try await difference.ranges() == [UInt64(17 * Self.block)..<UInt64(18 * Self.block)])

        let large = try await fixture.stageOut(
            MemoryVolume(pattern.bytes), options: StageOutOptions(blockSize: .standard)
        ).root
        let error = try await failure { _ = try fixture.difference(of: large, since: here) }
        #expect(error.code == .invalidArgument && error.description.contains("64 KiB and 256 KiB blocks"))
    }
}

/// A large volume of which each block begins with its number and a salt, made up as it is read.
private struct NumberedBlocks: BlockSource {
    let sizeBytes: UInt64
    let alignment = 1
    /// Blocks that have another salt.
    var changed: Set<UInt64> = []

    func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws {
        _ = buffer.initializeMemory(as: UInt8.self, repeating: 7)
        let size = UInt64(BlockSize.standard.bytes)
        for block in offset / size..<(offset + UInt64(buffer.count)) / size {
            let text = block << 1 | (changed.contains(block) ? 1 : 0)
            buffer.storeBytes(of: text, toByteOffset: Int(block * size - offset), as: UInt64.self)
        }
    }

    func allocatedRanges() throws -> [Range<UInt64>] { [0..<sizeBytes] }
}

/// What a comparison costs, on a volume with blocks and nodes of the standard size.
@Suite struct MapDifferenceFigures {
    @Test func aDeltaOfSomeGibibytesIsFoundInMilliseconds() async throws {
        let fixture = try await TransferFixture()
        let gibibytes: UInt64 = 2
        let options = StageOutOptions(blockSize: .standard)
        let size = gibibytes << 30
        let source = NumberedBlocks(sizeBytes: size)
        let first = try await fixture.stageOut(source, options: options).root
        let blockBytes = UInt64(BlockSize.standard.bytes)
        // One block of one leaf, and one of each.
        for (name, changed) in [("one-block", [700]), ("each-leaf", stride(from: 5, to: size / blockBytes, by: 512))]
            as [(String, any Sequence<UInt64>)]
        {
            let blocks = Set(changed.map { $0 })
            let ranges = blocks.sorted().map { $0 * blockBytes..<($0 + 1) * blockBytes }
            let second = try await fixture.stageOut(
                NumberedBlocks(sizeBytes: size, changed: blocks), .only(ranges), parent: first, options: options
            ).root
            let meter = TransferMeter()
            let start = ContinuousClock.now
            let found = try await fixture.difference(of: second, since: first, meter: meter).ranges()
            let time = ContinuousClock.now - start
            #expect(found == ranges)
            // The two tops, and both leaves of each pair that differs.
            #expect(meter.statistics.readRequests == UInt64(2 + 2 * blocks.count))
            let milliseconds = time / .milliseconds(1) / Double(gibibytes)
            print("figure delta-of-\(name)-time \(milliseconds) ms/GiB")
            print("figure delta-of-\(name)-requests \(Double(meter.statistics.readRequests) / Double(gibibytes)) 1/GiB")
        }
    }
}
