import Errors

/// How large a thin pool and its metadata become, and how they lie on the drives.
struct ThinPoolPlan: Sendable, Equatable {
    enum Layout: Sendable, Equatable {
        case linear
        case striped(Int)
        /// Two legs.
        case raid1
    }

    var layout: Layout
    var chunkBytes: UInt64
    var metadataBytes: UInt64
    var dataBytes: UInt64
    var extentBytes: UInt64

    static let defaultChunk: UInt64 = 64 << 10
    /// The kernel's limits (dm-thin-pool).
    static let chunks: ClosedRange<UInt64> = (64 << 10)...(1 << 30)
    /// The kernel uses no more of a metadata volume than 255 bitmaps, 15.81 GiB.
    static let largestMetadata: UInt64 = 15 << 30
    static let smallestMetadata: UInt64 = 16 << 20
    /// A mapping is 16 bytes in leaves that are half full at worst, and so 32 with its share of the space map. A copy and
    /// its base may have a tree each; this is twice that.
    static let metadataPerChunk: UInt64 = 128
    static let stripeBytes: UInt64 = 64 << 10

    /// - Parameter drives: what is free on each, in bytes.
    /// - Throws: `invalidArgument` where the layout or the chunks do not go with the drives.
    init(
        layout: LVMPool.Layout, stripes: Int?, chunkBytes: UInt64?, extentBytes: UInt64, drives: [UInt64]
    ) throws {
        let smallest = drives.min() ?? 0
        let total: UInt64
        switch layout {
        case .linear:
            self.layout = .linear
            total = drives.reduce(0, +)
        case .striped:
            let count = stripes ?? drives.count
            guard count >= 2, count <= drives.count else {
                throw PerSSDError(
                    .invalidArgument, "a pool cannot be striped \(count) times over \(drives.count) drives",
                    remedy: "give as many drives as stripes, and two at the least, or the layout linear")
            }
            self.layout = .striped(count)
            total = smallest * UInt64(count)
        case .raid1:
            guard drives.count == 2 else {
                throw PerSSDError(
                    .invalidArgument, "a pool with the layout raid1 has two drives, and \(drives.count) are given",
                    remedy: "give two drives of the same size")
            }
            self.layout = .raid1
            total = smallest
        }
        var chunk = chunkBytes ?? Self.defaultChunk
        guard Self.chunks.contains(chunk), chunk.nonzeroBitCount == 1 else {
            throw PerSSDError(
                .invalidArgument, "\(chunk) bytes cannot be a pool's chunk size",
                remedy: "give a power of two from 64KiB to 1GiB")
        }
        func metadata(_ chunk: UInt64) -> UInt64 {
            Self.roundedUp(max(Self.smallestMetadata, total / chunk * Self.metadataPerChunk), extentBytes)
        }
        if chunkBytes == nil {
            while metadata(chunk) > Self.largestMetadata { chunk *= 2 }
        }
        self.chunkBytes = chunk
        metadataBytes = min(metadata(chunk), Self.largestMetadata / extentBytes * extentBytes)
        self.extentBytes = extentBytes
        // Each drive may have to take the metadata, LVM's spare of it (lvol0_pmspare) and a second spare for a repair, and
        // RAID two extents of its own.
        let aside = 3 * metadataBytes + 2 * extentBytes
        let usable: UInt64
        switch self.layout {
        case .linear: usable = total > aside ? total - aside : 0
        case .striped(let count): usable = smallest > aside ? (smallest - aside) * UInt64(count) : 0
        case .raid1: usable = smallest > aside ? smallest - aside : 0
        }
        let unit: UInt64 =
            if case .striped(let count) = self.layout { extentBytes * UInt64(count) } else { extentBytes }
        dataBytes = usable / unit * unit
        guard dataBytes >= 64 << 20 else {
            throw PerSSDError(
                .invalidArgument, "the drives are too small for a pool: they have \(smallest) bytes free at the least",
                remedy: "give larger drives")
        }
    }

    private static func roundedUp(_ value: UInt64, _ unit: UInt64) -> UInt64 { (value + unit - 1) / unit * unit }

    /// The commands that make the pool in a volume group that is empty, each with its arguments, in order.
    func commands(group: String) -> [(command: String, arguments: [String])] {
        let pool = LVMNames.thinPool
        let tags = LVMTags.thinPool.sorted().flatMap { ["--addtag", $0] }
        let behaviour = ["--chunksize", "\(chunkBytes)b", "--zero", "y", "--discards", "passdown"]
        var commands: [(String, [String])] = []
        switch layout {
        case .linear, .striped:
            var stripes: [String] = []
            if case .striped(let count) = layout {
                stripes = ["--stripes", "\(count)", "--stripesize", "\(Self.stripeBytes)b"]
            }
            commands.append(
                (
                    "lvcreate",
                    [
                        "--yes", "--type", "thin-pool", "--size", "\(dataBytes)b", "--poolmetadatasize",
                        "\(metadataBytes)b",
                    ]
                        + stripes + behaviour + tags + ["--name", pool, group]
                ))
        case .raid1:
            for (name, size) in [(pool, dataBytes), (pool + "_metadata", metadataBytes)] {
                commands.append(
                    (
                        "lvcreate",
                        ["--yes", "--type", "raid1", "--mirrors", "1", "--nosync", "--size", "\(size)b"]
                            + ["--name", name, group]
                    ))
            }
            commands.append(
                (
                    "lvconvert",
                    ["--yes", "--type", "thin-pool", "--poolmetadata", "\(group)/\(pool)_metadata"] + behaviour
                        + ["\(group)/\(pool)"]
                ))
        }
        // Not before: a conversion leaves tags with the hidden volumes, which are none of ours by themselves.
        if layout == .raid1 { commands.append(("lvchange", tags + ["\(group)/\(pool)"])) }
        // A write that finds no room is to fail, not to hang its pod for a minute. lvcreate refuses to be told.
        commands.append(("lvchange", ["--errorwhenfull", "y", "\(group)/\(pool)"]))
        return commands
    }
}
