import Errors

/// What of a file differs between two states of a file system.
public struct Ext4Difference: Sendable {
    public enum Change: String, Sendable {
        case added, removed
        /// What it holds, or what it is. A file that was written anew elsewhere, with the same bytes, is among these.
        case changed
        /// Times, owner, permissions, links or extended attributes only.
        case attributes
    }

    /// From the root, with a slash before each name.
    public var path: String
    public var change: Change
    /// nil where there was none.
    public var old: Ext4Entry?
    /// nil where there is none any more.
    public var new: Ext4Entry?
}

/// Compares two states of one file system by their directories and inodes. Each write of a file changes the times in its inode,
/// and one by a mapping does so before it reaches the device. Of what files hold, only that is read which lies where the devices
/// differ, and up to the first byte that does.
public struct Ext4Comparison {
    private static let deepest = 4096
    /// Bytes that are compared at a time.
    private static let piece = 1 << 20
    private let old: Ext4?
    private let new: Ext4
    private let differing: (Range<UInt64>) -> [Range<UInt64>]
    private let deliver: (Ext4Difference) throws -> Void

    /// - Parameters:
    ///   - old: nil for an empty one.
    ///   - differing: which parts of a range of the devices' bytes may differ.
    ///   - deliver: is called for each difference, in the order of the paths.
    public init(
        of new: Ext4, since old: Ext4?, differing: @escaping (Range<UInt64>) -> [Range<UInt64>],
        deliver: @escaping (Ext4Difference) throws -> Void
    ) {
        (self.old, self.new, self.differing, self.deliver) = (old, new, differing, deliver)
    }

    /// - Throws: `corrupt`; what the devices and `deliver` throw.
    public func run() throws {
        try compare(try old?.entry(at: "/"), try new.entry(at: "/"), path: "", depth: 0)
    }

    /// Compares two directories, of which one may be missing, entry by entry.
    private func compare(_ old: Ext4Entry?, _ new: Ext4Entry?, path: String, depth: Int) throws {
        guard depth < Self.deepest else {
            throw PerSSDError(.corrupt, "directories lie more than \(Self.deepest) deep in each other")
        }
        var before = try entries(of: old, in: self.old)[...]
        var after = try entries(of: new, in: self.new)[...]
        while let name = [before.first?.name, after.first?.name].compactMap({ $0 }).min() {
            let one = before.first?.name == name ? before.removeFirst() : nil
            let other = after.first?.name == name ? after.removeFirst() : nil
            let place = "\(path)/\(name)"
            if let change = try change(from: one, to: other) {
                try deliver(Ext4Difference(path: place, change: change, old: one, new: other))
            }
            // What was a directory and is none any more, or the other way round, had entries or has some.
            if one?.kind == .directory || other?.kind == .directory {
                try compare(one, other, path: place, depth: depth + 1)
            }
        }
    }

    private func entries(of directory: Ext4Entry?, in system: Ext4?) throws -> [Ext4Entry] {
        guard let directory, directory.kind == .directory, let system else { return [] }
        return try system.entries(in: directory)
    }

    private func change(from old: Ext4Entry?, to new: Ext4Entry?) throws -> Ext4Difference.Change? {
        guard let old else { return .added }
        guard let new else { return .removed }
        guard old.kind == new.kind else { return .changed }
        // What is in a directory is told of by itself.
        if new.kind == .directory {
            let isSame = old.permissions == new.permissions && old.user == new.user && old.group == new.group
            return isSame ? nil : .attributes
        }
        if old.stamp == new.stamp { return nil }
        guard old.stamp.isSameFile(as: new.stamp), old.sizeBytes == new.sizeBytes, old.target == new.target else {
            return .changed
        }
        return try new.kind == .file && holdsOther(than: old, new) ? .changed : .attributes
    }

    /// Whether what a file holds has changed.
    private func holdsOther(than before: Ext4Entry, _ after: Ext4Entry) throws -> Bool {
        guard let old, let there = try old.extents(of: before), let here = try new.extents(of: after), there == here
        else { return true }
        for part in here.flatMap({ differing($0.place) }) {
            for start in stride(from: part.lowerBound, to: part.upperBound, by: Self.piece) {
                let range = start..<min(start + UInt64(Self.piece), part.upperBound)
                if try old.bytes(range) != new.bytes(range) { return true }
            }
        }
        return false
    }
}
