import Foundation

/// A group snapshot's id: valid in every cluster that uses the bucket.
public struct GroupSnapshotID: DerivedID {
    public static let prefix = "group-"
    public static let kind = "group_snapshot"
    public let rawValue: String

    public init(unchecked rawValue: String) { self.rawValue = rawValue }
}

/// `groups/<group>.json`: snapshots of several volumes, of one moment.
///
/// The members' own records are there before they are cut, so that nodes find them. Nobody else sees them until this record
/// says that all are cut: that one write makes all of them, or none.
public struct GroupSnapshotRecord: Record, Equatable {
    static let format = "perssd-group-snapshot"
    static let currentVersion = 1

    public enum State: String, Sendable, Codable {
        /// Somebody is at it, or has died over it.
        case cutting
        /// All members are cut, at a moment when nobody wrote any of them.
        case cut
    }

    /// One volume's snapshot.
    public struct Member: Sendable, Codable, Hashable {
        public var snapshot: SnapshotID
        public var volume: VolumeID
        /// Who is to cut it, and the epoch of the lease that it writes under; nil where nobody writes the volume.
        public var node: NodeReference?
        public var epoch: UInt64?
    }

    public var group: GroupSnapshotID
    /// The name it was created by, which its id is derived from.
    public var name: String
    /// Which try to make it this is. Each has members of its own, so that what an earlier one left is in nobody's way.
    public var incarnation: Incarnation
    public var state: State
    /// In the order of the volumes' ids.
    public var members: [Member]
    /// When its members' contents were as they are; before that, when the try began.
    public var createdAt: Date
    /// Set where it is deleted, or was never made: what is left is the memory of it.
    public var deletedAt: Date?

    /// The nodes that have members to cut.
    public var nodes: Set<NodeReference> { Set(members.compactMap(\.node)) }
}

extension GroupSnapshotRecord: PlacedRecord {
    func isAt(_ key: ObjectKey) -> Bool { (try? CatalogKey.group(group)) == key }
}
