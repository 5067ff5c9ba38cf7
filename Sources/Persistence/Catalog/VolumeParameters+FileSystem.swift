import Errors
import Units

/// What a StorageClass says about the making of its volumes' file systems. Each file system has some of it; what one does
/// not have is refused, so that nobody believes to have what he has not.
extension VolumeParameters {
    /// How many bytes of the volume each inode of an ext4 is for (mke2fs(8), `-i`); below a block there is no use.
    public static let inodeRatios: ClosedRange<UInt64> = 4096...(64 << 20)
    /// Percent of an ext4 that only root can use (mke2fs(8), `-m`).
    public static let reservedPercents = 0...50
    /// Bytes of an ext4's journal or an xfs's log. mkfs.xfs(8) makes none below 64 MiB.
    public static let journalSizes: ClosedRange<UInt64> = (4 << 20)...(1 << 30)
    private static let smallestXFSLog: UInt64 = 64 << 20

    static func inodeRatio(_ value: String) throws -> UInt64 {
        guard let ratio = ByteCount(parsing: value)?.bytes, inodeRatios.contains(ratio) else {
            throw refused("inodeRatio", value, "the bytes of the volume for each inode, from 4Ki to 64Mi")
        }
        return ratio
    }

    static func reservedBlocksPercent(_ value: String) throws -> Int {
        guard let percent = Int(value), reservedPercents.contains(percent) else {
            throw refused("reservedBlocksPercent", value, "a whole number from 0 to 50")
        }
        return percent
    }

    static func journalSize(_ value: String) throws -> UInt64 {
        guard let size = ByteCount(parsing: value)?.bytes, journalSizes.contains(size), size % (1 << 20) == 0 else {
            throw refused("journalSize", value, "whole MiB from 4Mi to 1Gi")
        }
        return size
    }

    /// That a file system of this kind, on a volume of this size, can be made as the parameters say.
    ///
    /// - Parameters:
    ///   - fileSystem: "ext4" and the like; nil for a volume that is to be a raw device.
    ///   - capacityBytes: nil where it is not known.
    /// - Throws: `invalidArgument` naming the parameter and what it may be.
    public func checkFileSystem(_ fileSystem: String?, capacityBytes: UInt64?) throws {
        let has: [String] =
            switch fileSystem {
            case "ext4": ["inodeRatio", "journalSize", "reservedBlocksPercent"]
            case "xfs": ["journalSize"]
            default: []
            }
        let given = [
            "inodeRatio": inodeRatio != nil, "journalSize": journalSize != nil,
            "reservedBlocksPercent": reservedBlocksPercent != nil,
        ]
        for key in given.keys.sorted() where given[key] == true && !has.contains(key) {
            throw PerSSDError(
                .invalidArgument,
                "parameter \(key) is given, and \(fileSystem ?? "a raw block volume") has no such thing",
                remedy: has.isEmpty
                    ? "leave it out" : "leave it out; those of \(fileSystem ?? "") are \(has.joined(separator: ", "))")
        }
        guard let journalSize else { return }
        let smallest = fileSystem == "xfs" ? Self.smallestXFSLog : Self.journalSizes.lowerBound
        let largest = capacityBytes.map { min(max($0 / 8, smallest), Self.journalSizes.upperBound) }
        guard journalSize >= smallest, journalSize <= largest ?? .max else {
            throw Self.refused(
                "journalSize", "\(ByteCount(journalSize))",
                "for \(fileSystem ?? "") at least \(ByteCount(smallest))"
                    + (largest.map { ", and for a volume of this size at most \(ByteCount($0))" } ?? ""))
        }
    }
}
