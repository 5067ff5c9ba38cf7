import Foundation
import LocalVolumes
import SystemPackage

/// What a pool has promised to keep of a copy, in the small: of its contents, the first byte.
struct CopyState: CustomStringConvertible {
    var epoch: UInt64 = 1
    var sizeMebibytes: UInt64 = 4
    var byte: UInt8 = 0
    /// The first byte of the cut that waits.
    var cutByte: UInt8?
    var baseGeneration: UInt64?

    init() {}

    /// As it is on the drive, read past the pool.
    init(of copy: LocalCopy, in pool: ImagePool, at directory: FilePath) async throws {
        let folder = directory.appending("volumes").appending(copy.record.volume)
        epoch = copy.record.epoch
        sizeMebibytes = copy.record.sizeBytes >> 20
        byte = try Self.firstByte(of: folder.appending("image"))
        cutByte = try await pool.pendingCut(copy.record.volume).map { try Self.firstByte(of: $0.path) }
        let names = try FileManager.default.contentsOfDirectory(atPath: folder.string)
        baseGeneration = names.compactMap { $0.hasPrefix("base-") ? UInt64($0.dropFirst(5)) : nil }.first
    }

    func record(_ volume: String) -> CopyRecord {
        CopyRecord(
            volume: volume, incarnation: "i", lineage: "l", epoch: epoch, generation: 0, state: .dirty,
            sizeBytes: sizeMebibytes << 20, lastUsed: 0)
    }

    var description: String {
        let cut = cutByte.map(String.init) ?? "-"
        let base = baseGeneration.map(String.init) ?? "-"
        return "epoch=\(epoch),size=\(sizeMebibytes),byte=\(byte),cut=\(cut),base=\(base)"
    }

    private static func firstByte(of path: FilePath) throws -> UInt8 {
        let file = try FileHandle(forReadingFrom: URL(fileURLWithPath: path.string))
        defer { try? file.close() }
        guard let byte = try file.read(upToCount: 1)?.first else { throw CocoaError(.fileReadCorruptFile) }
        return byte
    }
}

/// One line, out at once: what a kill leaves in a buffer is lost.
func say(_ line: String) {
    try? FileHandle.standardOutput.write(contentsOf: Data((line + "\n").utf8))
}
