import Digests
import Errors
import Foundation
import Testing
import TransferTestSupport

@testable import Persistence

@Suite struct MapRootTests {
    private func root() throws -> MapRoot {
        let geometry = try MapGeometry(blockSize: .standard, capacityBytes: 123_456_789)
        let piece = Piece(
            pack: PackID([UInt8](0..<16))!, offset: 64, storedLength: 100, plainLength: 200, compression: .zstd,
            digest: SHA256.digest("node"))
        let totals = MapTotals(blocks: 3, blockBytes: 5000, mapBytes: 300)
        return MapRoot(
            geometry: geometry, top: NodePointer(piece: piece, content: SHA256.digest("content"), totals: totals))
    }

    private func encode(_ root: MapRoot) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(root), as: UTF8.self)
    }

    private func decode(_ text: String) throws -> MapRoot {
        try JSONDecoder().decode(MapRoot.self, from: Data(text.utf8))
    }

    @Test func theJSONIsAsDocumented() throws {
        let expected = """
            {"blockSizeLog2":18,"capacityBytes":123456789,"contentDigest":"\(try root().contentDigest)",\
            "fanOutLog2":9,"levels":2,"top":{"cipher":"none","compression":"zstd","content":"\(SHA256.digest("content"))",\
            "key":0,"offset":64,"pack":"000102030405060708090a0b0c0d0e0f","plainLength":200,\
            "sha256":"\(SHA256.digest("node"))","storedLength":100,\
            "totals":{"blockBytes":5000,"blocks":3,"mapBytes":300}},"version":1}
            """
        #expect(try encode(root()) == expected)
        #expect(try decode(expected) == root())
    }

    @Test func aVolumeOfZerosHasNoTop() throws {
        let zeros = MapRoot.zeros(try root().geometry)
        let text = try encode(zeros)
        #expect(!text.contains("top"))
        #expect(try decode(text) == zeros)
        #expect(zeros.allocatedBytes == 0)
        let bytes = [UInt8](repeating: 0, count: 123_456_789)
        #expect(zeros.contentDigest == referenceContentDigest(bytes, blockSize: 1 << 18, fanOutLog2: 9))
    }

    struct Damage: Sendable {
        var old: String
        var new: String
        var code: PerSSDError.Code

        init(_ old: String, _ new: String, _ code: PerSSDError.Code) {
            (self.old, self.new, self.code) = (old, new, code)
        }
    }
    static let damages: [Damage] = [
        Damage("\"version\":1", "\"version\":2", .unsupported),
        Damage("\"compression\":\"zstd\"", "\"compression\":\"lzma\"", .unsupported),
        Damage("\"cipher\":\"none\"", "\"cipher\":\"aes\"", .unsupported),
        Damage("\"levels\":2", "\"levels\":3", .corrupt),
        Damage("\"blockSizeLog2\":18", "\"blockSizeLog2\":15", .corrupt),
        Damage("\"blockSizeLog2\":18", "\"blockSizeLog2\":250", .corrupt),
        Damage("\"blockSizeLog2\":18", "\"blockSizeLog2\":19", .corrupt),
        Damage("\"fanOutLog2\":9", "\"fanOutLog2\":20", .corrupt),
        Damage("\"capacityBytes\":123456789", "\"capacityBytes\":123456790", .corrupt),
        Damage("\"capacityBytes\":123456789", "\"capacityBytes\":0", .corrupt),
        Damage("\"key\":0", "\"key\":4", .corrupt),
        Damage("\"offset\":64", "\"offset\":3", .corrupt),
        Damage("\"storedLength\":100", "\"storedLength\":0", .corrupt),
        Damage("\"plainLength\":200", "\"plainLength\":4294967295", .corrupt),
        Damage("000102030405060708090a0b0c0d0e0f", "../02030405060708090a0b0c0d0e0f0", .corrupt),
        Damage("\"content\":\"ed7002", "\"content\":\"ee7002", .corrupt),
    ]

    @Test(arguments: damages) func whatContradictsItselfOrIsUnknownIsRefused(_ damage: Damage) throws {
        let (old, new, code) = (damage.old, damage.new, damage.code)
        let text = try encode(root())
        try #require(text.contains(old), "\(text)")
        let changed = text.replacingOccurrences(of: old, with: new)
        let error = #expect(throws: PerSSDError.self) { try decode(changed) }
        #expect(error?.code == code, "\(error?.description ?? "")")
    }

    @Test func missingFieldsAreRefused() {
        #expect(throws: DecodingError.self) { try decode("{}") }
        #expect(throws: DecodingError.self) { try decode("{\"version\":1}") }
        #expect(throws: DecodingError.self) { try decode("{\"version\":\"1\"}") }
    }
}
