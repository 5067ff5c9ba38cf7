import Errors
import Persistence

/// The controller's way to the nodes.
public protocol NodeAgents: Sendable {
    /// Asks a node to cut the volume of a snapshot whose record names the node, and to commit what it has cut.
    ///
    /// Returns once the cut is made, or is under way by an earlier call; the record tells.
    func deliver(_ snapshot: SnapshotID, on node: NodeReference, until deadline: ContinuousClock.Instant?) async throws

    /// Tells a node that the record of a volume that it has was changed. Returns once the node has read it.
    func reread(_ volume: VolumeID, on node: NodeReference, until deadline: ContinuousClock.Instant?) async throws

    /// Tells a node that its lease of a volume is wanted back. Returns once the node has begun to commit what no pod writes any
    /// more, or has put on record that it is lost with the local copy; the head tells.
    func handOver(_ volume: VolumeID, on node: NodeReference, until deadline: ContinuousClock.Instant?) async throws

    /// Asks a node for one step of its part in a group snapshot. Returns once the node has taken it with all its members.
    ///
    /// - Parameter incarnation: which try to make the group is meant.
    func cut(
        _ step: GroupCutStep, of group: GroupSnapshotID, _ incarnation: Incarnation, on node: NodeReference,
        until deadline: ContinuousClock.Instant?
    ) async throws
}

/// Where there is no way to them.
public struct NoNodeAgents: NodeAgents {
    public init() {}

    public func deliver(
        _ snapshot: SnapshotID, on node: NodeReference, until deadline: ContinuousClock.Instant?
    ) async throws {
        throw Self.noWay
    }

    public func reread(
        _ volume: VolumeID, on node: NodeReference, until deadline: ContinuousClock.Instant?
    ) async throws { throw Self.noWay }

    public func handOver(
        _ volume: VolumeID, on node: NodeReference, until deadline: ContinuousClock.Instant?
    ) async throws { throw Self.noWay }

    public func cut(
        _ step: GroupCutStep, of group: GroupSnapshotID, _ incarnation: Incarnation, on node: NodeReference,
        until deadline: ContinuousClock.Instant?
    ) async throws { throw Self.noWay }

    private static let noWay = PerSSDError(
        .failedPrecondition, "this controller does not talk to nodes", remedy: "unpublish the volume first")
}
