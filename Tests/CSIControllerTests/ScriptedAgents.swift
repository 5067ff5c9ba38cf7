import Agents
import Persistence
import Synchronization

/// Agents that do what a test says, and note what they were asked.
final class ScriptedAgents: NodeAgents {
    let calls = Mutex<[String]>([])
    private let deliver: @Sendable (SnapshotID, NodeReference) async throws -> Void
    private let reread: @Sendable (VolumeID, NodeReference) async throws -> Void
    private let handOver: @Sendable (VolumeID, NodeReference) async throws -> Void
    private let cut: @Sendable (GroupCutStep, GroupSnapshotID, NodeReference) async throws -> Void

    init(
        deliver: @escaping @Sendable (SnapshotID, NodeReference) async throws -> Void = { _, _ in },
        reread: @escaping @Sendable (VolumeID, NodeReference) async throws -> Void = { _, _ in },
        handOver: @escaping @Sendable (VolumeID, NodeReference) async throws -> Void = { _, _ in },
        cut: @escaping @Sendable (GroupCutStep, GroupSnapshotID, NodeReference) async throws -> Void = { _, _, _ in }
    ) {
        (self.deliver, self.reread, self.handOver, self.cut) = (deliver, reread, handOver, cut)
    }

    func deliver(
        _ snapshot: SnapshotID, on node: NodeReference, until deadline: ContinuousClock.Instant?
    ) async throws {
        calls.withLock { $0.append("\(snapshot) \(node)") }
        try await deliver(snapshot, node)
    }

    func reread(_ volume: VolumeID, on node: NodeReference, until deadline: ContinuousClock.Instant?) async throws {
        calls.withLock { $0.append("\(volume) \(node)") }
        try await reread(volume, node)
    }

    func handOver(_ volume: VolumeID, on node: NodeReference, until deadline: ContinuousClock.Instant?) async throws {
        calls.withLock { $0.append("hand over \(volume) \(node)") }
        try await handOver(volume, node)
    }

    func cut(
        _ step: GroupCutStep, of group: GroupSnapshotID, _ incarnation: Incarnation, on node: NodeReference,
        until deadline: ContinuousClock.Instant?
    ) async throws {
        calls.withLock { $0.append("\(step) \(node)") }
        try await cut(step, group, node)
    }
}
