import Errors
import Logging
import RPC

/// The node plugin's private service for programs on its node: a hook of whatever ends the node, or an operator.
public final class ControlServer: Sendable {
    /// Who may write to the socket may call.
    public static let socketMode: UInt32 = 0o600

    private let server: RPCServer
    private let address: RPCAddress
    private let logger: Logger

    /// - Parameters:
    ///   - address: a Unix socket.
    ///   - flush: flushes the node until a time, or as long as it takes. It tells how far it is now and then, and does not end
    ///     with its caller.
    /// - Throws: `invalidArgument` for an address that others than this machine's root could reach.
    public init(
        at address: RPCAddress, logger: Logger,
        flush: @escaping @Sendable (ContinuousClock.Instant?) async -> AsyncStream<FlushReport>
    ) throws {
        guard case .unix = address else {
            throw PerSSDError(
                .invalidArgument, "the control service listens on a Unix socket, and \(address) is none",
                remedy: "give --control-socket an absolute path")
        }
        self.address = address
        self.logger = logger
        var options = RPCServer.Options()
        options.socketMode = Self.socketMode
        options.maximumReceiveSize = 64 << 10
        options.maximumConcurrentCalls = 16
        server = RPCServer(
            [
                RPCMethod(
                    FlushRequest.path,
                    .serverStreaming { bytes, _, responses in
                        do {
                            let request = try ControlCoding.decode(FlushRequest.self, bytes)
                            let deadline = try request.deadlineSeconds.map { try Self.deadline(seconds: $0) }
                            for await report in await flush(deadline) {
                                try await responses.send(try ControlCoding.encode(report))
                            }
                        } catch let error as PerSSDError {
                            throw RPCStatus(.invalidArgument, "\(error)")
                        }
                    })
            ], options: options)
    }

    private static func deadline(seconds: Double) throws -> ContinuousClock.Instant {
        guard seconds.isFinite, FlushDeadline.range.contains(.seconds(seconds)) else {
            throw PerSSDError(.invalidArgument, "a flush cannot be given \(seconds) s", remedy: "give 1 s to 7 days")
        }
        return .now + .seconds(seconds)
    }

    /// Starts to serve.
    public func start() async throws {
        let bound = try await server.listen(on: address)
        logger.info("control calls are served", metadata: ["endpoint": "\(bound)"])
    }

    /// Serves until the task is cancelled, then lets the calls that run end.
    ///
    /// - Parameter gracePeriod: for at most this long.
    public func run(gracePeriod: Duration) async {
        while (try? await Task.sleep(for: .seconds(86400))) != nil {}
        await server.shutdown(gracePeriod: gracePeriod)
    }
}
