import Digests
import Errors
import Foundation
import Testing
import TransferTestSupport

@testable import Persistence

@Suite struct MapNodeTests {
    private let geometry = try! MapGeometry(blockSize: .smallest, capacityBytes: 1 << 40, fanOutLog2: 4)

    private func place(level: Int = 0, index: UInt64 = 7) -> MapNodeCoding.Place {
        MapNodeCoding.Place(geometry: geometry, level: level, index: index)
    }

    private func piece(_ random: inout SeededGenerator, plain: UInt32 = 65536, digest: Digest? = nil) -> Piece {
        let isCompressed = random.next() % 2 == 0
        return Piece(
            pack: PackID([UInt8](repeating: UInt8(random.next() % 3), count: 16))!,
            offset: UInt32.random(in: 64...1 << 25, using: &random),
            storedLength: isCompressed ? UInt32.random(in: 1...plain, using: &random) : plain, plainLength: plain,
            compression: isCompressed ? .zstd : .none, digest: digest ?? SHA256.digest(random.noise(4)))
    }

    private func leaf(_ seed: UInt64) -> LeafNode {
        var random = SeededGenerator(seed: seed)
        var leaf = LeafNode()
        for slot in UInt16(0)..<16 where slot == 3 || random.next() % 3 > 0 {
            let patches = (0..<(random.next() % 5)).map { _ in piece(&random, plain: 5000) }
            let digest = SHA256.digest(random.noise(4))
            let base = piece(&random, digest: patches.isEmpty ? digest : nil)
            leaf.entries.append(.init(slot: slot, block: BlockEntry(digest: digest, base: base, patches: patches)))
        }
        return leaf
    }

    private func inner(_ seed: UInt64) -> InnerNode {
        var random = SeededGenerator(seed: seed)
        var node = InnerNode()
        for slot in UInt16(0)..<16 where slot == 3 || random.next() % 3 > 0 {
            let totals = MapTotals(
                blocks: random.next() >> 8, blockBytes: random.next() >> 8, mapBytes: random.next() >> 8)
            let child = NodePointer(
                piece: piece(&random, plain: 900), content: SHA256.digest(random.noise(4)), totals: totals)
            node.entries.append(.init(slot: slot, child: child))
        }
        return node
    }

    private func decodeLeaf(_ bytes: [UInt8], at place: MapNodeCoding.Place? = nil) throws -> LeafNode {
        try bytes.withUnsafeBytes { try MapNodeCoding.decodeLeaf($0, at: place ?? self.place()) }
    }

    private func decodeInner(_ bytes: [UInt8], at place: MapNodeCoding.Place) throws -> InnerNode {
        try bytes.withUnsafeBytes { try MapNodeCoding.decodeInner($0, at: place) }
    }

    @Test(arguments: [UInt64](1...8)) func nodesComeBackAsTheyWere(_ seed: UInt64) throws {
        #expect(try decodeLeaf(MapNodeCoding.encode(leaf(seed), at: place())) == leaf(seed))
        let bytes = MapNodeCoding.encode(inner(seed), at: place(level: 2))
        #expect(try decodeInner(bytes, at: place(level: 2)) == inner(seed))
    }

    @Test func aNodeInAnothersPlaceIsRefused() throws {
        let bytes = MapNodeCoding.encode(leaf(1), at: place())
        #expect(throws: PerSSDError.self) { try decodeLeaf(bytes, at: place(index: 8)) }
        #expect(throws: PerSSDError.self) { try decodeInner(bytes, at: place(level: 1)) }
        let others = [
            try MapGeometry(blockSize: BlockSize(bytes: 1 << 17), capacityBytes: 1 << 40, fanOutLog2: 4),
            try MapGeometry(blockSize: .smallest, capacityBytes: 1 << 40, fanOutLog2: 5),
        ]
        for other in others {
            #expect(throws: PerSSDError.self) {
                try decodeLeaf(bytes, at: .init(geometry: other, level: 0, index: 7))
            }
        }
    }

    @Test func anEntryPastTheVolumesEndIsRefused() throws {
        let short = try MapGeometry(blockSize: .smallest, capacityBytes: (7 * 16 + 3) << 16, fanOutLog2: 4)
        let bytes = MapNodeCoding.encode(leaf(1), at: place())
        #expect(throws: PerSSDError.self) { try decodeLeaf(bytes, at: .init(geometry: short, level: 0, index: 7)) }
    }

    /// No bytes make the reader trap, or read on for ever; it says what is wrong.
    @Test func damagedNodesAreRefusedOrReadButNeverTrap() throws {
        let bytes = MapNodeCoding.encode(leaf(2), at: place())
        for count in 0..<bytes.count {
            #expect(throws: PerSSDError.self) { try decodeLeaf(Array(bytes.prefix(count))) }
        }
        #expect(throws: PerSSDError.self) { try decodeLeaf(bytes + [0]) }
        var random = SeededGenerator(seed: 5)
        for _ in 0..<5000 {
            var damaged = bytes
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                damaged[Int.random(in: 0..<bytes.count, using: &random)] = UInt8(truncatingIfNeeded: random.next())
            }
            do {
                _ = try decodeLeaf(damaged)
            } catch {
                #expect(error is PerSSDError)
            }
            do {
                _ = try decodeInner(damaged, at: place(level: 1))
            } catch {
                #expect(error is PerSSDError)
            }
        }
    }

    struct Damage: Sendable {
        var offset: Int
        var value: UInt8
        var code: PerSSDError.Code
        var words: String

        init(_ offset: Int, _ value: UInt8, _ code: PerSSDError.Code, _ words: String) {
            (self.offset, self.value, self.code, self.words) = (offset, value, code, words)
        }
    }
    /// Header: 32 bytes, pack table: 16, then the entry.
    static let damages: [Damage] = [
        Damage(8, 2, .unsupported, "version 2"), Damage(13, 1, .unsupported, "flag"),
        Damage(28, 1, .unsupported, "reserved"), Damage(0, 0, .corrupt, "magic"), Damage(24, 0, .corrupt, "entries"),
        Damage(24, 17, .corrupt, "entries"), Damage(14, 0, .corrupt, "out of order"),
        Damage(50, 9, .unsupported, "way 9"),
        Damage(51, 1, .corrupt, "patches"), Damage(86, 2, .unsupported, "compression 2"),
        Damage(87, 1, .unsupported, "cipher 1"), Damage(88, 1, .corrupt, "key 1"),
        Damage(99, 255, .corrupt, "impossible"), Damage(92, 0, .corrupt, "impossible"),
        Damage(102, 0, .corrupt, "impossible"),
    ]

    @Test(arguments: damages) func eachFieldIsLookedAt(_ damage: Damage) throws {
        let (offset, value, code, words) = (damage.offset, damage.value, damage.code, damage.words)
        var leaf = LeafNode()
        let digest = SHA256.digest("x")
        let piece = Piece(
            pack: PackID([UInt8](repeating: 1, count: 16))!, offset: 64, storedLength: 65536, plainLength: 65536,
            compression: .none, digest: digest)
        leaf.entries = [.init(slot: 3, block: BlockEntry(digest: digest, base: piece))]
        var bytes = MapNodeCoding.encode(leaf, at: place())
        #expect(try decodeLeaf(bytes) == leaf)
        #expect(bytes.count == 32 + 16 + 56)
        try #require(bytes[offset] != value)
        bytes[offset] = value
        let error = #expect(throws: PerSSDError.self) { try decodeLeaf(bytes) }
        #expect(error?.code == code)
        #expect(error?.description.contains(words) == true, "\(error?.description ?? "")")
    }

    @Test func slotsAscend() throws {
        var swapped = leaf(1)
        swapped.entries.swapAt(0, 1)
        #expect(throws: PerSSDError.self) { try decodeLeaf(MapNodeCoding.encode(swapped, at: place())) }
    }

    @Test func theContentDigestKnowsBlocksAndPlacesAndNothingElse() {
        let one = leaf(1)
        var moved = one
        moved.entries[0].block.base.offset += 1
        moved.entries[0].block.base.pack = PackID([UInt8](repeating: 200, count: 16))!
        moved.entries[1].block.patches = []
        #expect(digest(moved) == digest(one))
        var changed = one
        changed.entries[0].block.digest = SHA256.digest("other")
        #expect(digest(changed) != digest(one))
        var shifted = LeafNode(entries: [one.entries[0]])
        let before = digest(shifted)
        shifted.entries[0].slot += 1
        #expect(digest(shifted) != before)
        #expect(digest(LeafNode()) == Digest.zero)
    }

    private func digest(_ leaf: LeafNode) -> Digest { ContentDigest.of(leaf, blockSize: .smallest) }
}
