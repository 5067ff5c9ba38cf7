import Digests
import Errors
import Foundation
import TestSupport
import Testing
import TransferTestSupport

@testable import Persistence

/// What is damaged in the store is refused, by its name, and never restored as if it were right.
@Suite struct DamageTests {
    private let block = TransferFixture.blockBytes

    private struct Volume {
        var fixture: TransferFixture
        var bytes: [UInt8]
        var root: MapRoot
    }

    /// Two generations, the second with patches, in four packs or more.
    private func volume() async throws -> Volume {
        let fixture = try await TransferFixture()
        var random = SeededGenerator(seed: 21)
        var bytes = random.halfCompressible(80 * block) + random.noise(32 * block)
        let before = bytes
        let first = try await fixture.stageOut(MemoryVolume(bytes))
        for number in stride(from: 3, to: 100, by: 9) { bytes[number * block + 77] ^= 1 }
        let second = try await fixture.stageOut(
            MemoryVolume(bytes), parent: first.root, base: MemoryVolume(before))
        try #require(second.statistics.blocksPatched > 5)
        return Volume(fixture: fixture, bytes: bytes, root: second.root)
    }

    private func path(_ key: ObjectKey, in volume: Volume) -> String { volume.fixture.directory + key.path }

    /// Restore and verification both refuse, and name the object.
    private func expectRefused(_ volume: Volume, naming key: ObjectKey, _ what: Comment) async throws {
        let sink = MemoryVolume([UInt8](repeating: 0, count: volume.bytes.count))
        let error = try await failure { try await volume.fixture.restore(volume.root, to: sink) }
        #expect(error.code == .corrupt, what)
        #expect(error.description.contains(key.path), what)
        #expect(error.description.contains("block"), what)
        #expect(error.description.contains("bytes "), what)
        let result = try await volume.fixture.verify(volume.root)
        #expect(!result.isSound, what)
        #expect(result.findings.allSatisfy { $0.description.contains(key.path) }, what)
        #expect(!result.damagedBlocks.isEmpty, what)
    }

    @Test func aMissingPackIsNamed() async throws {
        let volume = try await volume()
        for pack in try await volume.fixture.packs() {
            let path = path(pack.key, in: volume)
            let bytes = try Data(contentsOf: URL(fileURLWithPath: path))
            try FileManager.default.removeItem(atPath: path)
            try await expectRefused(volume, naming: pack.key, "\(pack.key)")
            try bytes.write(to: URL(fileURLWithPath: path))
        }
        #expect(try await volume.fixture.verify(volume.root).isSound)
    }

    @Test func aTruncatedPackIsNamed() async throws {
        let volume = try await volume()
        for pack in try await volume.fixture.packs() {
            let url = URL(fileURLWithPath: path(pack.key, in: volume))
            let bytes = try Data(contentsOf: url)
            for count in [0, 10, 64, bytes.count / 2] {
                try bytes.prefix(count).write(to: url)
                try await expectRefused(volume, naming: pack.key, "\(pack.key) cut to \(count)")
            }
            // Without its last byte every piece is still there: a restore can do, and a verification has to tell.
            try bytes.dropLast().write(to: url)
            #expect(try await !volume.fixture.verify(volume.root).isSound)
            try bytes.write(to: url)
        }
    }

    @Test func twoSwappedPacksAreNoticed() async throws {
        let volume = try await volume()
        let packs = try await volume.fixture.packs()
        try #require(packs.count >= 4)
        let paths = packs.prefix(2).map { path($0.key, in: volume) }
        try FileManager.default.moveItem(atPath: paths[0], toPath: paths[0] + ".x")
        try FileManager.default.moveItem(atPath: paths[1], toPath: paths[0])
        try FileManager.default.moveItem(atPath: paths[0] + ".x", toPath: paths[1])
        let sink = MemoryVolume([UInt8](repeating: 0, count: volume.bytes.count))
        let error = try await failure { try await volume.fixture.restore(volume.root, to: sink) }
        #expect(error.code == .corrupt)
        let result = try await volume.fixture.verify(volume.root)
        // What hangs on an unreadable map node is not looked at, and that may be all of the other pack.
        #expect(!result.isSound)
        for finding in result.findings {
            #expect(packs.prefix(2).contains { finding.description.contains($0.key.path) }, "\(finding)")
        }
    }

    @Test func aFlippedBitAnywhereInAPackIsFound() async throws {
        let volume = try await volume()
        var random = SeededGenerator(seed: 4)
        for pack in try await volume.fixture.packs() {
            let url = URL(fileURLWithPath: path(pack.key, in: volume))
            let sound = try Data(contentsOf: url)
            let id = try #require(PackID(hex: url.lastPathComponent))
            let reached = try await reachedPieces(of: volume).filter { $0.pack == id }
            var positions = (0..<12).map { _ in Int.random(in: 0..<sound.count, using: &random) }
            positions += [0, 9, 63, 64, sound.count - 1, sound.count - 64, sound.count - 65]
            for position in positions {
                var damaged = sound
                damaged[position] ^= 1 << UInt8(random.next() % 8)
                try damaged.write(to: url)
                let isReached = reached.contains { $0.range.contains(UInt64(position)) }
                if isReached {
                    try await expectRefused(volume, naming: pack.key, "\(pack.key) at \(position)")
                } else {
                    // Replaced blocks and old nodes are nobody's; header, index and footer are looked at.
                    let inFrame = position < PackFormat.headerLength || position >= sound.count - 64
                    let result = try await volume.fixture.verify(volume.root)
                    #expect(!inFrame || !result.isSound, "\(pack.key) at \(position)")
                    expectEqual(try await volume.fixture.restored(volume.root), volume.bytes)
                }
            }
            try sound.write(to: url)
        }
        #expect(try await volume.fixture.verify(volume.root).isSound)
    }

    private func reachedPieces(of volume: Volume) async throws -> [Piece] {
        let meter = TransferMeter()
        let pieces = PieceReader(store: volume.fixture.store, lineage: TransferFixture.lineage, meter: meter)
        let nodes = MapNodeReader(pieces: pieces)
        func collect(_ pointer: NodePointer, _ place: MapNodeCoding.Place) async throws -> [Piece] {
            var found = [pointer.piece]
            if place.level == 0 {
                return found + (try await nodes.leaf(pointer, at: place)).entries.flatMap { $0.block.pieces }
            }
            for entry in try await nodes.inner(pointer, at: place).entries {
                let index = place.index << UInt64(place.geometry.fanOutLog2) + UInt64(entry.slot)
                found += try await collect(
                    entry.child, .init(geometry: place.geometry, level: place.level - 1, index: index))
            }
            return found
        }
        return try await collect(try #require(volume.root.top), volume.root.topPlace)
    }

    @Test func verificationTellsOfAllThatIsDamaged() async throws {
        let volume = try await volume()
        var random = SeededGenerator(seed: 9)
        var expected: Set<UInt64> = []
        let last = UInt64(volume.root.geometry.blockCount)
        let stored = try await leafBlocks(of: volume)
        for _ in 0..<5 {
            let number = UInt64.random(in: 80..<last, using: &random)
            guard let entry = stored[number] else { continue }
            let url = URL(fileURLWithPath: path(try entry.base.pack.key(lineage: TransferFixture.lineage), in: volume))
            var bytes = try Data(contentsOf: url)
            bytes[Int(entry.base.offset)] ^= 0xff
            if expected.insert(number).inserted { try bytes.write(to: url) }
        }
        let result = try await volume.fixture.verify(volume.root)
        #expect(result.findings.count == expected.count)
        #expect(Set(result.damagedBlocks.flatMap { Array($0) }) == expected)
        for number in expected {
            #expect(result.findings.contains { $0.description.contains("block \(number) ") })
        }
    }

    private func leafBlocks(of volume: Volume) async throws -> [UInt64: BlockEntry] {
        let pieces = PieceReader(store: volume.fixture.store, lineage: TransferFixture.lineage, meter: TransferMeter())
        let blocks = Collected()
        try await MapWalk(volume.root, since: .zeros, nodes: MapNodeReader(pieces: pieces)).run { stretch in
            guard case .leaf(let place, let new, _) = stretch else { return }
            await blocks.add(new.entries.map { (place.blocks.lowerBound + UInt64($0.slot), $0.block) })
        }
        return await blocks.all
    }

    private actor Collected {
        var all: [UInt64: BlockEntry] = [:]
        func add(_ blocks: [(UInt64, BlockEntry)]) {
            for (number, entry) in blocks { all[number] = entry }
        }
    }

    /// Its hash is right, so that nothing but the version tells.
    @Test func aMapNodeOfAFutureVersionIsUnsupported() async throws {
        let fixture = try await TransferFixture()
        let geometry = try MapGeometry(blockSize: .smallest, capacityBytes: UInt64(block), fanOutLog2: 2)
        let place = MapNodeCoding.Place(geometry: geometry, level: 1, index: 0)
        var builder = PackBuilder(lineage: TransferFixture.lineage)
        let child = NodePointer(
            piece: Piece(
                pack: builder.id, offset: 64, storedLength: 9, plainLength: 9, compression: .none, digest: .zero),
            content: .zero, totals: MapTotals())
        var node = MapNodeCoding.encode(InnerNode(entries: [.init(slot: 0, child: child)]), at: place)
        node[8] = 2
        let piece = node.withUnsafeBytes {
            builder.append(
                $0, kind: .mapNode, compression: .none, plainLength: $0.count, digest: Digests.SHA256.digest($0))
        }
        let key = try builder.id.key(lineage: TransferFixture.lineage)
        _ = try await fixture.store.write(key, builder.finish(), condition: .absent)
        let root = MapRoot(
            geometry: geometry, top: NodePointer(piece: piece, content: .zero, totals: MapTotals()))
        let error = try await failure { _ = try await fixture.restored(root) }
        #expect(error.code == .unsupported)
        #expect(error.description.contains("version 2") && error.description.contains(key.path))
        let result = try await fixture.verify(root)
        #expect(result.findings.map(\.code) == [.unsupported])
        let staged = try await failure {
            try await fixture.stageOut(MemoryVolume([UInt8](repeating: 1, count: block)), parent: root)
        }
        #expect(staged.code == .unsupported)
    }

    /// A root whose word for what is below is wrong, while every hash of stored bytes is right.
    @Test func aPointerThatSaysOtherContentsOrTotalsIsRefused() async throws {
        let volume = try await volume()
        let top = try #require(volume.root.top)
        var content = top
        content.content = Digests.SHA256.digest("something else")
        var totals = top
        totals.totals.blocks += 1
        for (pointer, words) in [(content, "contents"), (totals, "totals")] {
            let root = MapRoot(geometry: volume.root.geometry, top: pointer)
            let error = try await failure { _ = try await volume.fixture.restored(root) }
            #expect(error.code == .corrupt)
            #expect(error.description.contains(words), "\(error)")
            let result = try await volume.fixture.verify(root)
            #expect(!result.isSound)
        }
    }

    /// Patches that are right each, and do not belong together.
    @Test func aPatchedBlockIsHeldAgainstItsOwnDigest() async throws {
        let fixture = try await TransferFixture()
        var random = SeededGenerator(seed: 17)
        let bytes = random.noise(block)
        var changed = bytes
        changed[5] ^= 1
        let first = try await fixture.stageOut(MemoryVolume(bytes))
        let second = try await fixture.stageOut(MemoryVolume(changed), parent: first.root, base: MemoryVolume(bytes))
        #expect(second.statistics.blocksPatched == 1)
        let pieces = PieceReader(store: fixture.store, lineage: TransferFixture.lineage, meter: TransferMeter())
        let nodes = MapNodeReader(pieces: pieces)
        let geometry = second.root.geometry
        let inner = try await nodes.inner(try #require(second.root.top), at: second.root.topPlace)
        let leafPlace = MapNodeCoding.Place(geometry: geometry, level: 0, index: 0)
        var leaf = try await nodes.leaf(inner.entries[0].child, at: leafPlace)
        leaf.entries[0].block.digest = Digests.SHA256.digest("what it should be")
        let root = try await write(leaf, geometry, to: fixture.store)
        let error = try await failure { _ = try await fixture.restored(root) }
        #expect(error.code == .corrupt)
        #expect(error.description.contains("patched block"), "\(error)")
        #expect(try await !fixture.verify(root).isSound)
    }

    /// A map of this one leaf, with all its hashes right.
    private func write(_ leaf: LeafNode, _ geometry: MapGeometry, to store: any ObjectStore) async throws -> MapRoot {
        var builder = PackBuilder(lineage: TransferFixture.lineage)
        func append(_ node: [UInt8], content: Digest, below: MapTotals?) throws -> NodePointer {
            let piece = node.withUnsafeBytes {
                builder.append(
                    $0, kind: .mapNode, compression: .none, plainLength: $0.count, digest: Digests.SHA256.digest($0))
            }
            let totals = try #require(below?.adding(MapTotals(mapBytes: UInt64(piece.storedLength))))
            return NodePointer(piece: piece, content: content, totals: totals)
        }
        let leafPlace = MapNodeCoding.Place(geometry: geometry, level: 0, index: 0)
        let child = try append(
            MapNodeCoding.encode(leaf, at: leafPlace), content: ContentDigest.of(leaf, blockSize: geometry.blockSize),
            below: leaf.totals)
        let inner = InnerNode(entries: [.init(slot: 0, child: child)])
        let innerPlace = MapNodeCoding.Place(geometry: geometry, level: 1, index: 0)
        let top = try append(
            MapNodeCoding.encode(inner, at: innerPlace), content: ContentDigest.of(inner, level: 1), below: inner.totals
        )
        let key = try builder.id.key(lineage: TransferFixture.lineage)
        _ = try await store.write(key, builder.finish(), condition: .absent)
        return MapRoot(geometry: geometry, top: top)
    }

    /// A pointer that leads to another node, whose hash is right, of the same tree.
    @Test func exchangedChildrenAreNoticed() async throws {
        let volume = try await volume()
        let pieces = PieceReader(store: volume.fixture.store, lineage: TransferFixture.lineage, meter: TransferMeter())
        let nodes = MapNodeReader(pieces: pieces)
        let top = try #require(volume.root.top)
        var node = try await nodes.inner(top, at: volume.root.topPlace)
        let first = node.entries[0].child
        node.entries[0].child = node.entries[1].child
        node.entries[1].child = first
        var builder = PackBuilder(lineage: TransferFixture.lineage)
        let bytes = MapNodeCoding.encode(node, at: volume.root.topPlace)
        let piece = bytes.withUnsafeBytes {
            builder.append(
                $0, kind: .mapNode, compression: .none, plainLength: $0.count, digest: Digests.SHA256.digest($0))
        }
        let key = try builder.id.key(lineage: TransferFixture.lineage)
        _ = try await volume.fixture.store.write(key, builder.finish(), condition: .absent)
        let content = ContentDigest.of(node, level: volume.root.topPlace.level)
        let totals = try #require(node.totals?.adding(MapTotals(mapBytes: UInt64(piece.storedLength))))
        let root = MapRoot(
            geometry: volume.root.geometry, top: NodePointer(piece: piece, content: content, totals: totals))
        let error = try await failure { _ = try await volume.fixture.restored(root) }
        #expect(error.code == .corrupt)
        #expect(error.description.contains("belongs elsewhere"))
    }
}
