import Errors
import LinuxSystem
import SystemPackage

/// Finds what differs between two clones of one file from where their blocks lie, without reading them.
///
/// The reasoning: while a clone shares a block, the file system writes no one's data over it, but elsewhere. So where both
/// files have the same block at the same place, both hold the same bytes; holes and blocks never written read as zeros. This
/// holds for XFS and btrfs and is trusted there only.
enum ExtentComparison {
    /// The parts of `cut` that may differ from `base`, ascending and apart. What `cut` has beyond the end of `base` is
    /// compared with zeros.
    ///
    /// - Returns: nil where the extents do not tell.
    static func changes(from base: FilePath, to cut: FilePath) throws -> [Range<UInt64>]? {
        let magic = try FileSystemStats(of: cut).magic
        guard magic == FileSystemStats.xfsMagic || magic == FileSystemStats.btrfsMagic else { return nil }
        guard let before = try FileStatus.of(base, followingLinks: false),
            let after = try FileStatus.of(cut, followingLinks: false), before.device == after.device,
            before.kind == .regular, after.kind == .regular, before.sizeBytes <= after.sizeBytes
        else { return nil }
        var baseExtents = try FileExtents(of: base)
        var cutExtents = try FileExtents(of: cut)
        return try changes(
            size: after.sizeBytes, from: { try baseExtents.nextExtent() }, to: { try cutExtents.nextExtent() })
    }

    /// As above, for extents that two functions yield in ascending order.
    static func changes(
        size: UInt64, from nextBase: () throws -> FileExtent?, to nextCut: () throws -> FileExtent?
    ) throws -> [Range<UInt64>]? {
        var changes: [Range<UInt64>] = []
        var base = try nextBase()
        var cut = try nextCut()
        var position: UInt64 = 0
        while position < size {
            if let extent = base, extent.logical.upperBound <= position {
                base = try nextBase()
                continue
            }
            if let extent = cut, extent.logical.upperBound <= position {
                cut = try nextCut()
                continue
            }
            if base == nil && cut == nil { break }
            if base?.isPlain == false || cut?.isPlain == false { return nil }
            // Up to `end` neither file has a border of an extent.
            let end = min(border(of: base, after: position), border(of: cut, after: position), size)
            if address(in: base, at: position) != address(in: cut, at: position) {
                if let last = changes.last, last.upperBound == position {
                    changes[changes.count - 1] = last.lowerBound..<end
                } else {
                    changes.append(position..<end)
                }
            }
            position = end
        }
        return changes
    }

    private static func border(of extent: FileExtent?, after position: UInt64) -> UInt64 {
        guard let extent else { return .max }
        return position < extent.logical.lowerBound ? extent.logical.lowerBound : extent.logical.upperBound
    }

    /// Where the byte at `position` lies; nil where it reads as zero because nothing was written.
    private static func address(in extent: FileExtent?, at position: UInt64) -> UInt64? {
        guard let extent, extent.logical.contains(position), !extent.isUnwritten else { return nil }
        return extent.physical + (position - extent.logical.lowerBound)
    }
}
