import CSI
import Errors
import Identities
import Logging
import Persistence
import RPC

/// A node's agent: the private service that the controller calls.
///
/// It speaks TLS with a key made at its start, whose certificate is in the node's record; what each side trusts is what it
/// reads in the bucket. A stranger can do no more than to be refused.
public final class AgentServer: Sendable {
    /// The alternative name of agents' certificates: which node it is, the record tells.
    static let name = "agent.perssd.io"
    /// The key is made anew at each start; a process that runs longer than this needs one.
    static let lifetime = Duration.seconds(10 * 366 * 86400)

    private let server: RPCServer
    private let certificate: String
    private let listen: RPCAddress

    /// - Parameters:
    ///   - listen: host and port; port 0 for any that is free.
    ///   - duties: what is done for controllers.
    public init(
        catalog: Catalog, cluster: String, listen: RPCAddress, logger: Logger, duties: NodeDuties
    ) throws {
        let identity = try TLSIdentity(name: Self.name, lifetime: Self.lifetime)
        certificate = String(decoding: identity.certificate, as: UTF8.self)
        self.listen = listen
        let doorkeeper = Doorkeeper(catalog: catalog, cluster: cluster)
        var options = RPCServer.Options()
        options.maximumReceiveSize = 64 << 10
        options.maximumConcurrentCalls = 64
        options.tls = RPCServerTLS(
            certificateChain: identity.certificate, privateKey: identity.privateKey, clients: .anyCertificate)
        /// A call of a controller's: nobody else gets as far as `serve`.
        func method<Request: Decodable & Sendable>(
            _ path: String, _ serve: @escaping @Sendable (Request, ContinuousClock.Instant) async throws -> Void
        ) -> RPCMethod {
            RPCMethod(
                path,
                .unary { bytes, context in
                    do {
                        try await doorkeeper.admit(context.peerCertificate)
                        try await serve(
                            AgentCoding.decode(Request.self, bytes), context.deadline ?? .now + .seconds(30))
                        return try AgentCoding.encode(Done())
                    } catch {
                        logger.notice("a call of the agent failed: \(error)", metadata: ["peer": "\(context.peer)"])
                        throw RPCStatus(error)
                    }
                })
        }
        server = RPCServer(
            [
                method(DeliverRequest.path) { (request: DeliverRequest, deadline) in
                    try await duties.deliver(Self.named(request.snapshot), deadline)
                },
                method(RereadRequest.path) { (request: RereadRequest, deadline) in
                    try await duties.reread(Self.named(request.volume), deadline)
                },
                method(HandOverRequest.path) { (request: HandOverRequest, deadline) in
                    try await duties.handOver(Self.named(request.volume), deadline)
                },
                method(GroupCutRequest.path) { (request: GroupCutRequest, deadline) in
                    guard let incarnation = Incarnation(request.incarnation),
                        let step = GroupCutStep(rawValue: request.step)
                    else { throw PerSSDError(.invalidArgument, "the request names no step that is known here") }
                    try await duties.cutGroup(step, Self.named(request.group), incarnation, deadline)
                },
            ], options: options)
    }

    private static func named<ID: DerivedID>(_ text: String) throws -> ID {
        guard let id = ID(text) else { throw PerSSDError(.invalidArgument, "the request names no \(ID.kind)") }
        return id
    }

    /// Starts to serve.
    ///
    /// - Parameter published: where controllers reach it, where that is not where it listens.
    /// - Returns: what the node's record is to say.
    public func start(published: RPCAddress?) async throws -> NodeRecord.Agent {
        let bound = try await server.listen(on: listen)
        guard case .tcp(var host, var port) = bound else {
            throw PerSSDError(
                .invalidArgument, "an agent listens on TCP, and \(bound) is not", remedy: "give host:port")
        }
        if case .tcp(let publicHost, let publicPort) = published {
            (host, port) = (publicHost, publicPort == 0 ? port : publicPort)
        }
        return NodeRecord.Agent(host: host, port: port, certificate: certificate)
    }

    /// Serves until the task is cancelled, then lets the calls that run end.
    ///
    /// - Parameter gracePeriod: for at most this long.
    public func run(gracePeriod: Duration) async {
        while (try? await Task.sleep(for: .seconds(86400))) != nil {}
        await server.shutdown(gracePeriod: gracePeriod)
    }
}
