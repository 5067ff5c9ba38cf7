import Errors
import Units

/// What a StorageClass says about its volumes, checked and with its defaults. Kept in `volume.json`.
public struct VolumeParameters: Sendable, Hashable, Codable {
    /// When a NodeUnpublish returns.
    public enum StageOutMode: String, Sendable, Codable, CaseIterable {
        /// When the generation is committed.
        case onUnpublish
        /// When the cut is made, or is put off; detaching waits for the commit instead.
        case background
    }

    /// The pool, by its name in the node's configuration, that local copies come from.
    public var pool: String
    /// Bytes of a block: a power of two from 64 KiB to 4 MiB.
    public var blockSize: Int
    /// zstd's level, 1 to 19.
    public var compressionLevel: Int
    public var stageOut: StageOutMode
    /// How long a detach waits for a node that has uncommitted writes and shows no sign of life, in seconds. Then the
    /// lease is revoked.
    public var nodeLossTimeout: Int
    /// How often what a published volume holds becomes a generation, in seconds; nil for when its last pod has left.
    public var checkpointInterval: Int?
    /// How many bytes a second stage-outs of the volume send; nil for as many as they can.
    public var stageOutBandwidth: UInt64?
    /// How long a stage-out in the background is put off for a pod that may come next on the node, in seconds; nil for not at
    /// all.
    public var stageOutDelay: Int?
    /// Which generations are kept; nil where nobody says, for `RetentionPolicy.standard`.
    public var retention: RetentionPolicy?
    /// How the first file system is made, where not as it is by default; see `VolumeParameters+FileSystem.swift`. Not in
    /// records of volumes that say nothing of it.
    public var inodeRatio: UInt64?
    public var reservedBlocksPercent: Int?
    public var journalSize: UInt64?

    public static let defaultPool = "default"
    public static let blockSizes = 65_536...4_194_304

    public init(
        pool: String = defaultPool, blockSize: Int = 262_144, compressionLevel: Int = 1,
        stageOut: StageOutMode = .onUnpublish, nodeLossTimeout: Int = 600, inodeRatio: UInt64? = nil,
        reservedBlocksPercent: Int? = nil, journalSize: UInt64? = nil, checkpointInterval: Int? = nil,
        retention: RetentionPolicy? = nil, stageOutBandwidth: UInt64? = nil, stageOutDelay: Int? = nil
    ) {
        self.pool = pool
        self.blockSize = blockSize
        self.compressionLevel = compressionLevel
        self.stageOut = stageOut
        self.nodeLossTimeout = nodeLossTimeout
        self.inodeRatio = inodeRatio
        self.reservedBlocksPercent = reservedBlocksPercent
        self.journalSize = journalSize
        self.checkpointInterval = checkpointInterval
        self.retention = retention
        self.stageOutBandwidth = stageOutBandwidth
        self.stageOutDelay = stageOutDelay
    }

    /// The keys a StorageClass may have, for errors and documentation.
    public static let knownKeys = [
        "blockSize", "checkpointInterval", "compressionLevel", "inodeRatio", "journalSize", "nodeLossTimeout", "pool",
        "reservedBlocksPercent", "retention", "stageOut", "stageOutBandwidth", "stageOutDelay",
    ]

    /// - Parameter parameters: what CreateVolume got, less the keys that the provisioner adds.
    /// - Throws: `invalidArgument` naming the key, what it holds, and what it may hold.
    public init(parsing parameters: [String: String]) throws {
        self.init()
        for (key, value) in parameters.sorted(by: { $0.key < $1.key }) { try set(key, to: value) }
    }

    mutating func set(_ key: String, to value: String) throws {
        switch key {
        case "pool": pool = try Self.poolName(value)
        case "blockSize": blockSize = try Self.blockSize(value)
        case "compressionLevel":
            guard let level = Int(value), (1...19).contains(level) else {
                throw Self.refused(key, value, "a whole number from 1 to 19")
            }
            compressionLevel = level
        case "stageOut":
            guard let mode = StageOutMode(rawValue: value) else {
                throw Self.refused(key, value, StageOutMode.allCases.map(\.rawValue).joined(separator: " or "))
            }
            stageOut = mode
        case "nodeLossTimeout":
            guard let duration = Duration(parsing: value), (.seconds(1)...(.seconds(604_800))).contains(duration)
            else {
                throw Self.refused(key, value, "a duration from 1s to 168h, such as 10m")
            }
            nodeLossTimeout = Int(duration.components.seconds)
        case "checkpointInterval": checkpointInterval = try Self.checkpointInterval(value)
        case "stageOutBandwidth": stageOutBandwidth = try Self.stageOutBandwidth(value)
        case "stageOutDelay": stageOutDelay = try Self.stageOutDelay(value)
        case "retention":
            guard let policy = RetentionPolicy(parsing: value) else {
                throw Self.refused(key, value, "'all', or counts such as \(RetentionPolicy.standard)")
            }
            retention = policy
        case "inodeRatio": inodeRatio = try Self.inodeRatio(value)
        case "reservedBlocksPercent": reservedBlocksPercent = try Self.reservedBlocksPercent(value)
        case "journalSize": journalSize = try Self.journalSize(value)
        default:
            throw PerSSDError(
                .invalidArgument, "unknown StorageClass parameter '\(key.prefix(100))'",
                remedy: "the known ones are \(Self.knownKeys.joined(separator: ", "))")
        }
    }

    private static func poolName(_ value: String) throws -> String {
        // It is a label's value on nodes, too.
        let ends = [value.first, value.last].compactMap { $0 }
        guard ends.count == 2, ends.allSatisfy({ $0.isASCII && ($0.isLetter || $0.isNumber) }), value.utf8.count <= 63,
            let key = try? ObjectKey(value), !key.path.contains("/")
        else {
            throw refused(
                "pool", value,
                "a pool's name: up to 63 letters, digits, '-', '_' and '.', a letter or digit first and last")
        }
        return value
    }

    private static func blockSize(_ value: String) throws -> Int {
        guard let size = ByteCount(parsing: value), let bytes = Int(exactly: size.bytes),
            blockSizes.contains(bytes), bytes.nonzeroBitCount == 1
        else {
            throw refused("blockSize", value, "a power of two from 64Ki to 4Mi")
        }
        return bytes
    }

    static func refused(_ key: String, _ value: String, _ wanted: String) -> PerSSDError {
        PerSSDError(
            .invalidArgument, "parameter \(key) is '\(value.prefix(100))'", remedy: "give \(wanted)")
    }
}
