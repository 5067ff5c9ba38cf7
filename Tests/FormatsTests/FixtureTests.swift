import Digests
import Errors
import Foundation
import TestSupport
import Testing
import TransferTestSupport

@testable import Persistence

/// Objects that version 1 wrote once and for all, kept in the repository: what reads or writes them otherwise has changed
/// the format.
///
/// `Fixtures/v1` holds the packs of a small lineage as a directory store has them, and the root of its second generation.
/// They were made by `transfer-probe fixture`.
@Suite struct FixtureTests {
    private static let lineage = FormatFixture.lineage
    private static let directory = "\(PackageRoot.path)/Tests/FormatsTests/Fixtures/v1"

    private static func root() throws -> (root: MapRoot, json: Data) {
        let json = try Data(contentsOf: URL(fileURLWithPath: "\(directory)/root.json"))
        return (try JSONDecoder().decode(MapRoot.self, from: json), json)
    }

    private static func packs() throws -> [PackID: [UInt8]] {
        let folder = "\(directory)/packs"
        let names = try FileManager.default.contentsOfDirectory(atPath: folder)
        return try Dictionary(
            uniqueKeysWithValues: names.map {
                (try #require(PackID(hex: $0)), [UInt8](try Data(contentsOf: URL(fileURLWithPath: "\(folder)/\($0)"))))
            })
    }

    private static func store(_ directory: TemporaryDirectory) async throws -> any ObjectStore {
        let store = try await DirectoryStore.open(directory: directory.path)
        for (id, bytes) in try packs() {
            _ = try await store.write(id.key(lineage: lineage), bytes, condition: .absent)
        }
        return store
    }

    @Test func versionOneIsStillRead() async throws {
        let directory = try TemporaryDirectory("fixture")
        let store = try await Self.store(directory)
        let root = try Self.root().root
        let expected = FormatFixture.volume(generation: 2)
        let sink = MemoryVolume([UInt8](repeating: 0, count: expected.count))
        try await Restore(store: store, lineage: Self.lineage).run(root, to: sink, have: .zeros)
        #expect(sink.bytes == expected)
        let verified = try await VerifyMap(store: store, lineage: Self.lineage).run(root)
        #expect(verified.isSound, "\(verified.findings)")
        #expect(
            root.contentDigest == referenceContentDigest(expected, blockSize: root.blockSize.bytes, fanOutLog2: 3))
    }

    @Test func versionOneIsStillWritten() throws {
        let (root, json) = try Self.root()
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        #expect(try encoder.encode(root) == json)

        let packs = try Self.packs()
        var kinds: Set<PieceKind> = []
        var compressions: Set<Compression> = []
        for (id, bytes) in packs {
            let footer = try PackFormat.footer(Array(bytes.suffix(64)), size: UInt64(bytes.count))
            let header = Array(bytes.prefix(64))
            let index = Array(bytes[Int(footer.index.lowerBound)..<Int(footer.index.upperBound)])
            let entries = try PackFormat.entries(
                header: header, index: index, footer: footer, pack: id, lineage: Self.lineage)
            #expect(PackFormat.header(pack: id, lineage: Self.lineage) == header)
            let end = UInt32(footer.index.lowerBound)
            #expect(PackFormat.trailer(entries: entries, at: end, header: header) == Array(bytes[Int(end)...]))
            kinds.formUnion(entries.map(\.kind))
            compressions.formUnion(entries.map(\.piece.compression))
        }
        #expect(kinds == [.block, .mapNode, .patch])
        #expect(compressions == [.none, .zstd])
        var patches = 0
        try rewrite(try #require(root.top), at: root.topPlace, packs: packs, patches: &patches)
        #expect(patches == 2)
    }

    /// Each node, read and written again, has the bytes that it had.
    private func rewrite(
        _ pointer: NodePointer, at place: MapNodeCoding.Place, packs: [PackID: [UInt8]], patches: inout Int
    ) throws {
        let pack = try #require(packs[pointer.piece.pack])
        let stored = Array(pack[Int(pointer.piece.range.lowerBound)..<Int(pointer.piece.range.upperBound)])
        var plain = [UInt8](repeating: 0, count: Int(pointer.piece.plainLength))
        let pieces = PieceReader(store: NoStore(), lineage: Self.lineage, meter: TransferMeter())
        try plain.withUnsafeMutableBytes { plain in
            try stored.withUnsafeBytes {
                try pieces.decode(pointer.piece, stored: $0, into: plain, for: place.blocks, with: .init())
            }
        }
        if place.level == 0 {
            let leaf = try plain.withUnsafeBytes { try MapNodeCoding.decodeLeaf($0, at: place) }
            #expect(MapNodeCoding.encode(leaf, at: place) == plain)
            patches += leaf.entries.reduce(0) { $0 + $1.block.patches.count }
            return
        }
        let node = try plain.withUnsafeBytes { try MapNodeCoding.decodeInner($0, at: place) }
        #expect(MapNodeCoding.encode(node, at: place) == plain)
        for entry in node.entries {
            let index = place.index << UInt64(place.geometry.fanOutLog2) + UInt64(entry.slot)
            let child = MapNodeCoding.Place(geometry: place.geometry, level: place.level - 1, index: index)
            try rewrite(entry.child, at: child, packs: packs, patches: &patches)
        }
    }

    /// A reader in Python, written from docs/formats.md alone, that shares no code with this one.
    @Test func anIndependentReaderUnderstandsIt() async throws {
        let directory = try TemporaryDirectory("fixture")
        let store = try await Self.store(directory)
        _ = store
        let python = try PackageRoot.systemProgram("python3", package: "python3")
        let image = directory + "image"
        let reader = try await TestProcess.start(
            python,
            [
                "\(PackageRoot.path)/Tests/FormatsTests/Python/read_volume.py", "\(Self.directory)/root.json",
                directory + PackID.folder(lineage: Self.lineage), Self.lineage, image,
            ], directory: directory)
        #expect(try await reader.waitForExit() == 0, "\(reader.output)")
        let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: image)))
        #expect(bytes == FormatFixture.volume(generation: 2))
    }
}

/// For decoding bytes at hand.
private struct NoStore: ObjectStore {
    private static let absent = PerSSDError(.internal, "there is no store here")
    var location: String { "nowhere" }
    func read(_ key: ObjectKey) async throws -> StoredObject? { throw Self.absent }
    func read(_ key: ObjectKey, range: Range<UInt64>) async throws -> [UInt8]? { throw Self.absent }
    func info(_ key: ObjectKey) async throws -> ObjectInfo? { throw Self.absent }
    func write(_ key: ObjectKey, _ bytes: [UInt8], condition: WriteCondition) async throws -> ETag { throw Self.absent }
    func remove(_ key: ObjectKey) async throws { throw Self.absent }
    func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> [ObjectInfo] { throw Self.absent }
    func listFolders(in folder: String, after: String?, limit: Int) async throws -> [String] { throw Self.absent }
    func check() async throws { throw Self.absent }
}
