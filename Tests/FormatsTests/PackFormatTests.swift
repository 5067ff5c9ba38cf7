import Digests
import Errors
import Testing

@testable import Persistence

@Suite struct PackFormatTests {
    private let id = PackID([UInt8](0..<16))!
    private let lineage = "some-lineage"

    private func pack() -> (bytes: [UInt8], pieces: [Piece]) {
        var builder = PackBuilder(id: id, lineage: lineage)
        let pieces = [([UInt8](1...10), PieceKind.block), ([UInt8](11...13), .patch), ([UInt8](14...20), .mapNode)].map
        {
            bytes, kind in
            bytes.withUnsafeBytes {
                builder.append(
                    $0, kind: kind, compression: kind == .patch ? .zstd : .none,
                    plainLength: kind == .patch ? 99 : bytes.count, digest: SHA256.digest(bytes))
            }
        }
        return (builder.finish(), pieces)
    }

    private func read(_ bytes: [UInt8], id: PackID? = nil, lineage: String? = nil) throws -> [PackEntry] {
        let footer = try PackFormat.footer(Array(bytes.suffix(PackFormat.footerLength)), size: UInt64(bytes.count))
        return try PackFormat.entries(
            header: Array(bytes.prefix(PackFormat.headerLength)),
            index: Array(bytes[Int(footer.index.lowerBound)..<Int(footer.index.upperBound)]), footer: footer,
            pack: id ?? self.id, lineage: lineage ?? self.lineage)
    }

    @Test func whatIsWrittenIsRead() throws {
        let (bytes, pieces) = pack()
        let entries = try read(bytes)
        #expect(entries.map(\.piece) == pieces)
        #expect(entries.map(\.kind) == [.block, .patch, .mapNode])
        #expect(Array(bytes[Int(pieces[1].range.lowerBound)..<Int(pieces[1].range.upperBound)]) == [11, 12, 13])
        #expect(bytes.count == 64 + 20 + 3 * 56 + 64)
    }

    @Test func theSizeIsForetold() {
        var builder = PackBuilder(lineage: lineage)
        let foretold = builder.size(withPieceOf: 100)
        _ = [UInt8](repeating: 1, count: 100).withUnsafeBytes {
            builder.append($0, kind: .block, compression: .none, plainLength: 100, digest: .zero)
        }
        #expect(builder.finish().count == foretold)
    }

    @Test func memoryIsUsedAgain() {
        var storage = [UInt8](repeating: 0, count: 1000)
        storage.reserveCapacity(100_000)
        let before = storage.withUnsafeBytes { $0.baseAddress }
        var builder = PackBuilder(lineage: lineage, storage: &storage, capacity: 100_000)
        let pack = builder.finish()
        let after = pack.withUnsafeBytes { $0.baseAddress }
        #expect(before == after)
    }

    @Test func everyFlippedBitOutsideThePiecesIsNoticed() throws {
        let (bytes, pieces) = pack()
        let payload = Int(pieces[0].range.lowerBound)..<Int(pieces[2].range.upperBound)
        for position in bytes.indices where !payload.contains(position) {
            for bit in 0..<8 {
                var damaged = bytes
                damaged[position] ^= 1 << bit
                #expect(throws: PerSSDError.self, "byte \(position), bit \(bit)") { try read(damaged) }
            }
        }
    }

    @Test func everyTruncationIsNoticed() {
        let (bytes, _) = pack()
        for count in PackFormat.headerLength + PackFormat.footerLength..<bytes.count {
            #expect(throws: PerSSDError.self) { try read(Array(bytes.prefix(count))) }
        }
    }

    @Test func anotherPackAndAnotherLineageAreRefused() {
        let (bytes, _) = pack()
        #expect(throws: PerSSDError.self) { try read(bytes, id: PackID([UInt8](1...16))!) }
        #expect(throws: PerSSDError.self) { try read(bytes, lineage: "other") }
    }

    @Test func aVersionFromTheFutureIsUnsupportedAndNotCorrupt() throws {
        var (bytes, _) = pack()
        bytes[bytes.count - 16] = 2
        let footer = #expect(throws: PerSSDError.self) { try read(bytes) }
        #expect(footer?.code == .unsupported)
        #expect(footer?.message.contains("version 2") == true)
        #expect(footer?.remedy != nil)
        (bytes, _) = pack()
        bytes[8] = 7
        let header = #expect(throws: PerSSDError.self) { try read(bytes) }
        #expect(header?.code == .unsupported)
        #expect(header?.message.contains("version 7") == true)
    }

    @Test func packIDsHaveOneName() throws {
        #expect(PackID.random() != PackID.random())
        #expect(id.description == "000102030405060708090a0b0c0d0e0f")
        #expect(PackID(hex: id.description) == id)
        #expect(PackID(hex: "000102030405060708090A0B0C0D0E0F") == nil)
        #expect(PackID(hex: "00") == nil)
        #expect(PackID(hex: "") == nil)
        #expect(try id.key(lineage: "l").path == "lineages/l/packs/000102030405060708090a0b0c0d0e0f")
        #expect(throws: PerSSDError.self) { try id.key(lineage: "a b") }
        #expect(throws: PerSSDError.self) { try id.key(lineage: "") }
    }
}
