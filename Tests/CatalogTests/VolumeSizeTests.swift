import Errors
import Testing

@testable import Persistence

@Suite struct VolumeSizeTests {
    static let granule = Int64(VolumeSize.granule)
    static let largest = Int64(VolumeSize.largest)

    @Test(
        arguments: [
            (0, 0, Int64(VolumeSize.default)), (1, 0, granule), (granule, 0, granule), (granule + 1, 0, 2 * granule),
            (0, granule, granule), (0, 2 * granule - 1, granule), (0, 1 << 40, Int64(VolumeSize.default)),
            (granule, granule, granule), (1, granule, granule), (granule - 1, granule, granule), (largest, 0, largest),
            (largest - 1, largest, largest), (0, .max, Int64(VolumeSize.default)), (largest, .max, largest),
            (3 << 30, 5 << 30, 3 << 30),
        ] as [(Int64, Int64, Int64)])
    func choosesTheSmallest(_ required: Int64, _ limit: Int64, _ expected: Int64) throws {
        #expect(try VolumeSize.choose(required: required, limit: limit) == UInt64(expected))
    }

    @Test(
        arguments: [
            (largest + 1, 0), (.max, 0), (.max, .max), (2, 1), (granule + 1, granule + 1),
            (granule + 1, 2 * granule - 1),
            (0, granule - 1), (0, 1), (1, 1),
        ] as [(Int64, Int64)])
    func boundsThatNothingFitsAreOutOfRange(_ required: Int64, _ limit: Int64) {
        expectRefusal(.outOfRange) { _ = try VolumeSize.choose(required: required, limit: limit) }
    }

    @Test(arguments: [(-1, 0), (0, -1), (.min, .min), (-1, 5)] as [(Int64, Int64)])
    func negativeBoundsAreInvalid(_ required: Int64, _ limit: Int64) {
        expectRefusal(.invalidArgument, "required_bytes \(required)", "limit_bytes \(limit)") {
            _ = try VolumeSize.choose(required: required, limit: limit)
        }
    }

    // MARK: Parameters

    @Test func parametersHaveDefaults() throws {
        let parameters = try VolumeParameters(parsing: [:])
        #expect(parameters == VolumeParameters())
        #expect(parameters.pool == "default")
        #expect(parameters.stageOut == .onUnpublish)
        #expect(VolumeParameters.blockSizes.contains(parameters.blockSize))
    }

    @Test func parametersAreRead() throws {
        let parameters = try VolumeParameters(parsing: [
            "pool": "fast-1", "blockSize": "1Mi", "compressionLevel": "19", "stageOut": "background",
            "nodeLossTimeout": "2h", "inodeRatio": "64Ki", "reservedBlocksPercent": "1", "journalSize": "64Mi",
            "checkpointInterval": "15m",
        ])
        #expect(
            parameters
                == VolumeParameters(
                    pool: "fast-1", blockSize: 1 << 20, compressionLevel: 19, stageOut: .background,
                    nodeLossTimeout: 7200, inodeRatio: 65536, reservedBlocksPercent: 1, journalSize: 64 << 20,
                    checkpointInterval: 900))
    }

    @Test(arguments: [
        ("pool", ""), ("pool", "a/b"), ("pool", ".."), ("pool", "-a"), ("pool", "a."), ("pool", "a b"), ("pool", "pöl"),
        ("pool", String(repeating: "p", count: 64)), ("blockSize", ""), ("blockSize", "32Ki"), ("blockSize", "8Mi"),
        ("blockSize", "100000"), ("blockSize", "3Mi"), ("blockSize", "-65536"), ("blockSize", "99999999999E"),
        ("compressionLevel", "0"), ("compressionLevel", "20"), ("compressionLevel", "fast"),
        ("compressionLevel", "1.5"), ("stageOut", "onunpublish"), ("stageOut", ""), ("nodeLossTimeout", "0s"),
        ("nodeLossTimeout", "10"), ("nodeLossTimeout", "169h"), ("nodeLossTimeout", "-5m"),
        ("nodeLossTimeout", "999ms"), ("checkpointInterval", "9s"), ("checkpointInterval", "169h"),
        ("nodeLossTimeout", "99999999999999999999s"), ("inodeRatio", "4095"), ("inodeRatio", "65Mi"),
        ("inodeRatio", "many"), ("reservedBlocksPercent", "51"), ("reservedBlocksPercent", "-1"),
        ("reservedBlocksPercent", "5%"), ("journalSize", "3Mi"), ("journalSize", "2Gi"), ("journalSize", "5000000"),
    ])
    func badValuesAreRefusedByName(_ key: String, _ value: String) {
        expectRefusal(.invalidArgument, "parameter \(key) is '\(value.prefix(100))'", "give ") {
            _ = try VolumeParameters(parsing: [key: value])
        }
    }

    @Test func unknownKeysAreRefusedWithTheKnownOnes() {
        expectRefusal(
            .invalidArgument, "'Pool'",
            "blockSize, checkpointInterval, compressionLevel, inodeRatio, journalSize, nodeLossTimeout, pool, "
                + "reservedBlocksPercent, retention, stageOut, stageOutBandwidth"
        ) { _ = try VolumeParameters(parsing: ["Pool": "fast"]) }
    }

    @Test func whatAFileSystemDoesNotHaveIsRefused() throws {
        let all = ["inodeRatio": "64Ki", "reservedBlocksPercent": "1", "journalSize": "64Mi"]
        let had: [String?: Set<String>] = [
            "ext4": Set(all.keys), "xfs": ["journalSize"], "btrfs": [], .none: [],
        ]
        for (fileSystem, keys) in had {
            for (key, value) in all {
                let parameters = try VolumeParameters(parsing: [key: value])
                if keys.contains(key) {
                    try parameters.checkFileSystem(fileSystem, capacityBytes: 1 << 30)
                } else {
                    expectRefusal(.invalidArgument, "parameter \(key) is given", fileSystem ?? "raw block") {
                        try parameters.checkFileSystem(fileSystem, capacityBytes: 1 << 30)
                    }
                }
            }
            try VolumeParameters().checkFileSystem(fileSystem, capacityBytes: 4 << 20)
        }
    }

    @Test func aJournalFitsItsVolume() throws {
        let largest = try VolumeParameters(parsing: ["journalSize": "128Mi"])
        try largest.checkFileSystem("ext4", capacityBytes: 1 << 30)
        expectRefusal(.invalidArgument, "journalSize", "at most 127.5 MiB") {
            try largest.checkFileSystem("xfs", capacityBytes: (1 << 30) - (4 << 20))
        }
        // The least that xfs has, however small the volume.
        try VolumeParameters(parsing: ["journalSize": "64Mi"]).checkFileSystem("xfs", capacityBytes: 300 << 20)
        expectRefusal(.invalidArgument, "at least 64.0 MiB") {
            try VolumeParameters(parsing: ["journalSize": "63Mi"]).checkFileSystem("xfs", capacityBytes: 1 << 30)
        }
    }

    // MARK: Ids

    @Test func idsComeFromNames() {
        let id = VolumeID(name: "pvc-1")
        #expect(id == VolumeID(name: "pvc-1"))
        #expect(id != VolumeID(name: "pvc-2"))
        #expect(VolumeID(id.rawValue) == id)
        #expect(id.rawValue.hasPrefix("vol-"))
        #expect(id.rawValue.utf8.count == 36)
    }

    @Test(arguments: [
        "", "vol-", "vol-0123", "VOL-0123456789abcdef0123456789abcdef", "vol-0123456789ABCDEF0123456789ABCDEF",
        "vol-0123456789abcdef0123456789abcdeg", "vol-../../../../../../../../etc/pass",
        "0123456789abcdef0123456789abcdef",
        "vol-0123456789abcdef0123456789abcdef0", "vol-0123456789abcdef0123456789abcde\0",
    ])
    func whatIsNoIdIsNone(_ text: String) {
        #expect(VolumeID(text) == nil)
    }
}
