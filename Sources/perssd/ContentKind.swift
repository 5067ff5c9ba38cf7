import Errors
import Ext4
import Persistence

/// What a device holds, as its first bytes tell; no record says it, as a pod may write a raw device as it likes.
enum ContentKind: String, Sendable {
    case ext4, xfs, btrfs
    /// No file system that is known here: data of a raw volume, or another one's file system.
    case raw

    /// As much as all of them need: btrfs' superblock is the last, at 64 KiB.
    static let lengthOfBeginning: UInt64 = 128 << 10

    init(beginning: [UInt8]) {
        func has(_ magic: String, at offset: Int) -> Bool { beginning.dropFirst(offset).starts(with: magic.utf8) }
        self =
            if Ext4.isAtBeginning(of: beginning) {
                .ext4
            } else if has("XFSB", at: 0) {
                .xfs
            } else if has("_BHRfS_M", at: 65_600) {
                .btrfs
            } else {
                .raw
            }
    }

    /// "ext4", "xfs", "btrfs" or "raw"; or "damaged", where the first blocks cannot be read.
    static func name(of record: GenerationRecord, in catalog: Catalog) async throws -> String {
        do {
            return try await ContentKind(of: record, in: catalog).rawValue
        } catch let error as PerSSDError where error.code == .corrupt || error.code == .unsupported {
            return "damaged"
        }
    }

    /// Fetches the blocks that the answer is in, and no more.
    private init(of record: GenerationRecord, in catalog: Catalog) async throws {
        let map = StoredMap(root: record.map, store: catalog.store, lineage: record.lineage)
        let length = min(Self.lengthOfBeginning, record.map.capacityBytes)
        self.init(beginning: try await VolumeReader(map, readAhead: 1).read(0..<length))
    }

    /// "an ext4".
    var title: String {
        switch self {
        case .ext4, .xfs: "an \(rawValue)"
        case .btrfs: "a btrfs"
        case .raw: "no file system that is known here"
        }
    }
}
