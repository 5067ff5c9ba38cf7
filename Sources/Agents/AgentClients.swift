import Errors
import Identities
import Persistence
import RPC
import Synchronization
import Units

/// The controller's way to the nodes' agents: TLS, with a key made at its start, to whom each node's record names.
public final class AgentClients: NodeAgents {
    private static let name = "controller.perssd.io"
    /// How long a node may take, where the caller does not say.
    private static let patience = Duration.seconds(30)

    private let catalog: Catalog
    private let identity: TLSIdentity
    private let connections = Mutex<[NodeReference: Connection]>([:])

    private struct Connection {
        var agent: NodeRecord.Agent
        var client: RPCClient
    }

    /// What nodes know this process by.
    public var certificate: String { String(decoding: identity.certificate, as: UTF8.self) }

    public init(catalog: Catalog) throws {
        self.catalog = catalog
        identity = try TLSIdentity(name: Self.name, lifetime: AgentServer.lifetime)
    }

    public func deliver(
        _ snapshot: SnapshotID, on node: NodeReference, until deadline: ContinuousClock.Instant?
    ) async throws {
        try await call(DeliverRequest.path, DeliverRequest(snapshot: snapshot.rawValue), of: node, until: deadline)
    }

    public func reread(
        _ volume: VolumeID, on node: NodeReference, until deadline: ContinuousClock.Instant?
    ) async throws {
        try await call(RereadRequest.path, RereadRequest(volume: volume.rawValue), of: node, until: deadline)
    }

    public func handOver(
        _ volume: VolumeID, on node: NodeReference, until deadline: ContinuousClock.Instant?
    ) async throws {
        try await call(HandOverRequest.path, HandOverRequest(volume: volume.rawValue), of: node, until: deadline)
    }

    public func cut(
        _ step: GroupCutStep, of group: GroupSnapshotID, _ incarnation: Incarnation, on node: NodeReference,
        until deadline: ContinuousClock.Instant?
    ) async throws {
        let request = GroupCutRequest(
            group: group.rawValue, incarnation: incarnation.rawValue, step: step.rawValue)
        try await call(GroupCutRequest.path, request, of: node, until: deadline)
    }

    private func call(
        _ path: String, _ request: some Encodable, of node: NodeReference, until deadline: ContinuousClock.Instant?
    ) async throws {
        let client = try await client(of: node)
        // The caller's answer is still to reach it in time.
        let left = deadline.map { ($0 - .now) * 0.8 } ?? Self.patience
        let answer: [UInt8]
        do {
            answer = try await client.unary(
                path, try AgentCoding.encode(request), options: RPCCallOptions(timeout: min(left, Self.patience)))
        } catch let status as RPCStatus {
            throw Self.error(status, of: node)
        }
        do {
            _ = try AgentCoding.decode(Done.self, answer)
        } catch {
            throw PerSSDError(.unavailable, "the agent of node \(node) gave an answer that is none", cause: error)
        }
    }

    private func client(of node: NodeReference) async throws -> RPCClient {
        guard let record = try await catalog.node(node) else {
            throw PerSSDError(
                .unavailable, "there is no record of node \(node)", remedy: "start the node plugin there")
        }
        let now = catalog.time
        guard record.isAlive(at: now) else {
            let silence = Duration.seconds(max(0, now.timeIntervalSince(record.seenAt)))
            throw PerSSDError(
                .unavailable, "node \(node) has been silent for \(silence.text)",
                remedy: "find out what has become of it, or of its node plugin")
        }
        guard let agent = record.agent else {
            throw PerSSDError(
                .failedPrecondition, "the plugin of node \(node) has no agent",
                remedy: "upgrade it to the controller's version")
        }
        if let known = connections.withLock({ $0[node] }), known.agent == agent { return known.client }
        var options = RPCClient.Options()
        options.tls = RPCClientTLS(
            roots: Array(agent.certificate.utf8),
            identity: .init(certificateChain: identity.certificate, privateKey: identity.privateKey),
            serverName: AgentServer.name)
        let client: RPCClient
        do {
            client = try RPCClient(.tcp(host: agent.host, port: agent.port), options: options)
        } catch {
            throw PerSSDError(.unavailable, "the record of node \(node) names no usable agent", cause: error)
        }
        // The one before is closed by itself, once its calls have ended.
        connections.withLock { $0[node] = Connection(agent: agent, client: client) }
        return client
    }

    private static func error(_ status: RPCStatus, of node: NodeReference) -> PerSSDError {
        let code: PerSSDError.Code =
            switch status.code {
            case .invalidArgument, .unimplemented, .failedPrecondition: .failedPrecondition
            case .notFound: .notFound
            case .aborted: .aborted
            case .deadlineExceeded: .aborted
            case .resourceExhausted: .resourceExhausted
            case .cancelled: .cancelled
            default: .unavailable
            }
        return PerSSDError(code, "the agent of node \(node) says \(status.code.name): \(status.message)")
    }
}
