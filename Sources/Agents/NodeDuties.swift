import Errors
import Persistence

/// What a node's agent does for controllers. Each names a record, which says all that there is to know.
public struct NodeDuties: Sendable {
    /// Does what a snapshot's record asks of this node.
    public var deliver: @Sendable (SnapshotID, _ deadline: ContinuousClock.Instant) async throws -> Void
    /// Reads a volume's record again, as it has changed.
    public var reread: @Sendable (VolumeID, _ deadline: ContinuousClock.Instant) async throws -> Void
    /// Commits what this node wrote to a volume that no pod has any more, or says that it is lost: its lease is wanted back.
    public var handOver: @Sendable (VolumeID, _ deadline: ContinuousClock.Instant) async throws -> Void
    /// Takes one step of this node's part in a group snapshot.
    public var cutGroup:
        @Sendable (GroupCutStep, GroupSnapshotID, Incarnation, _ deadline: ContinuousClock.Instant) async throws -> Void

    public init(
        deliver: @escaping @Sendable (SnapshotID, _ deadline: ContinuousClock.Instant) async throws -> Void,
        reread: @escaping @Sendable (VolumeID, _ deadline: ContinuousClock.Instant) async throws -> Void,
        handOver: @escaping @Sendable (VolumeID, _ deadline: ContinuousClock.Instant) async throws -> Void,
        cutGroup:
            @escaping @Sendable (
                GroupCutStep, GroupSnapshotID, Incarnation, _ deadline: ContinuousClock.Instant
            ) async throws -> Void
    ) {
        (self.deliver, self.reread, self.handOver, self.cutGroup) = (deliver, reread, handOver, cutGroup)
    }
}
