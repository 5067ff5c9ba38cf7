import Errors
import Foundation
import Persistence

/// The volume whose second generation `Tests/FormatsTests/Fixtures` keeps.
public enum FormatFixture {
    public static let lineage = "00112233445566778899aabbccddeeff"
    private static let block = 64 << 10

    /// 70 blocks of 64 KiB, the last one not whole: noise, text, equal blocks, and zeros in between. The second generation
    /// changes pages of two blocks, the last one among them, and makes zeros of another.
    public static func volume(generation: Int) -> [UInt8] {
        var random = SeededGenerator(seed: 1234)
        var bytes = [UInt8](repeating: 0, count: 69 * block + 12_288)
        func put(_ part: [UInt8], at number: Int) {
            bytes.replaceSubrange(number * block..<number * block + part.count, with: part)
        }
        put(random.noise(block), at: 0)
        put([UInt8](repeating: 0x61, count: 3 * block), at: 1)
        put(random.halfCompressible(2 * block), at: 5)
        put(random.halfCompressible(block), at: 12)
        put(random.noise(4096), at: 40)
        put(random.halfCompressible(12_288), at: 69)
        if generation == 2 {
            put(Array("a page that changed".utf8), at: 0)
            bytes[block - 1] ^= 0xff
            put(Array("another".utf8), at: 12)
            put(Array("an end".utf8), at: 69)
            put([UInt8](repeating: 0, count: block), at: 5)
        }
        return bytes
    }

    /// Stages out both generations, the second with patches, and keeps their packs and the second's root in a directory.
    public static func make(in directory: String) async throws {
        let files = FileManager.default
        let folder = directory + "/store"
        try files.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let store = try await DirectoryStore.open(directory: folder)
        let options = StageOutOptions(blockSize: .smallest, workers: 1, fanOutLog2: 3)
        let before = MemoryVolume(volume(generation: 1))
        let first = try await StageOut(store: store, lineage: lineage, options: options)
            .run(source: before, changed: .unknown, parent: nil)
        let second = try await StageOut(store: store, lineage: lineage, options: options)
            .run(source: MemoryVolume(volume(generation: 2)), changed: .unknown, parent: first.root, base: before)
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        try encoder.encode(second.root).write(to: URL(fileURLWithPath: directory + "/root.json"))
        try files.createDirectory(atPath: directory + "/packs", withIntermediateDirectories: true)
        for info in try await store.list(prefix: PackID.folder(lineage: lineage), after: nil, limit: 10) {
            guard let bytes = try await store.read(info.key)?.bytes, let name = info.key.path.split(separator: "/").last
            else { throw PerSSDError(.internal, "\(info.key) vanished") }
            try Data(bytes).write(to: URL(fileURLWithPath: "\(directory)/packs/\(name)"))
        }
        try files.removeItem(atPath: folder)
    }
}
