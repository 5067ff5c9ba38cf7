import Errors

/// The size of a volume's blocks: a power of two, fixed for the volume's life.
public struct BlockSize: Sendable, Hashable, CustomStringConvertible {
    public static let smallest = BlockSize(log2Unchecked: 16)
    public static let largest = BlockSize(log2Unchecked: 22)
    /// Chosen by measurement; see docs/formats.md.
    public static let standard = BlockSize(log2Unchecked: 18)

    public let log2: UInt8

    private init(log2Unchecked: UInt8) { log2 = log2Unchecked }

    /// - Throws: `invalidArgument` where it is no power of two from 64 KiB to 4 MiB.
    public init(bytes: Int) throws {
        guard bytes > 0, bytes.nonzeroBitCount == 1,
            (Int(Self.smallest.log2)...Int(Self.largest.log2)).contains(bytes.trailingZeroBitCount)
        else {
            throw PerSSDError(
                .invalidArgument, "a block size of \(bytes) bytes is not possible",
                remedy: "choose a power of two from 64 KiB to 4 MiB")
        }
        log2 = UInt8(bytes.trailingZeroBitCount)
    }

    public var bytes: Int { 1 << Int(log2) }
    public var description: String { bytes < 1 << 20 ? "\(bytes >> 10) KiB" : "\(bytes >> 20) MiB" }
}

/// The shape of a block map: which node covers which blocks. It follows from block size, fan-out and capacity alone, so
/// that equal contents have equal trees.
public struct MapGeometry: Sendable, Hashable {
    /// Entries of a leaf, and children of an inner node, as a power of two.
    public static let standardFanOutLog2: UInt8 = 9
    static let fanOutLog2Range: ClosedRange<UInt8> = 2...10
    public static let maximumCapacity: UInt64 = 1 << 60

    public let blockSize: BlockSize
    public let fanOutLog2: UInt8
    public let capacityBytes: UInt64

    /// - Throws: `invalidArgument` where the capacity is 0 or over 1 EiB, or the fan-out outside 4 to 1024.
    public init(
        blockSize: BlockSize, capacityBytes: UInt64, fanOutLog2: UInt8 = MapGeometry.standardFanOutLog2
    ) throws {
        guard (1...Self.maximumCapacity).contains(capacityBytes) else {
            throw PerSSDError(.invalidArgument, "a volume of \(capacityBytes) bytes is not possible")
        }
        guard Self.fanOutLog2Range.contains(fanOutLog2) else {
            throw PerSSDError(.invalidArgument, "a block map cannot have a fan-out of 2^\(fanOutLog2)")
        }
        self.blockSize = blockSize
        self.fanOutLog2 = fanOutLog2
        self.capacityBytes = capacityBytes
    }

    public var fanOut: Int { 1 << Int(fanOutLog2) }

    /// Blocks of the volume; the last may reach past its end, and holds zeros there.
    public var blockCount: UInt64 { (capacityBytes - 1) >> UInt64(blockSize.log2) + 1 }

    /// Levels of the tree, leaves included: as few as cover all blocks, but never less than two.
    public var levels: Int {
        var levels = 2
        while blocksLog2(level: levels - 1) < 64, blockCount > 1 << UInt64(blocksLog2(level: levels - 1)) {
            levels += 1
        }
        return levels
    }

    /// Blocks that a node covers, as a power of two. Leaves are level 0.
    func blocksLog2(level: Int) -> Int { Int(fanOutLog2) * (level + 1) }

    /// The blocks that node `index` of `level` covers, as far as the volume reaches.
    func blocks(level: Int, index: UInt64) -> Range<UInt64> {
        let shift = UInt64(blocksLog2(level: level))
        let lower = min(index << shift, blockCount)
        return lower..<min((index + 1) << shift, blockCount)
    }

    /// The bytes of the volume that `blocks` are.
    func bytes(of blocks: Range<UInt64>) -> Range<UInt64> {
        let shift = UInt64(blockSize.log2)
        return min(blocks.lowerBound << shift, capacityBytes)..<min(blocks.upperBound << shift, capacityBytes)
    }

    /// The blocks that `bytes` touch.
    func blocks(touching bytes: Range<UInt64>) -> Range<UInt64> {
        guard !bytes.isEmpty else { return 0..<0 }
        let shift = UInt64(blockSize.log2)
        return bytes.lowerBound >> shift..<(bytes.upperBound - 1) >> shift + 1
    }
}
