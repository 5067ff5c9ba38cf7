import Errors
import Synchronization

/// A gRPC server on Unix sockets and TCP ports.
///
/// It listens once and is shut down once. One that is let go of without a shutdown cancels its calls and goes down by
/// itself, in the background.
public final class RPCServer: Sendable {
    public struct Options: Sendable {
        /// The largest request that is accepted, in bytes; larger ones are answered RESOURCE_EXHAUSTED.
        public var maximumReceiveSize = 4 << 20
        /// The largest response that is sent, in bytes; larger ones are answered RESOURCE_EXHAUSTED.
        public var maximumSendSize = Int(Int32.max)
        /// How many handlers may run at a time; further calls are answered UNAVAILABLE, and may be tried again.
        public var maximumConcurrentCalls = 4096
        /// Permissions of the socket files: who may write to one may call.
        public var socketMode: UInt32 = 0o660
        /// TCP listeners speak TLS with these; without, they speak plain text. Unix sockets always speak plain text.
        public var tls: RPCServerTLS?
        /// Told of each call that ended. Must not block: it runs on gRPC's threads too.
        public var observer: (@Sendable (RPCCallRecord) -> Void)?
        /// How long a connection may take until it speaks HTTP/2, so that those that never do go away.
        public var handshakeTimeout = Duration.seconds(20)

        public init() {}
    }

    private enum Phase {
        case new
        case starting(Task<RunningServer, any Error>)
        case running(RunningServer)
        case stopped(Task<Int, Never>)
    }

    private let methods: [RPCMethod]
    private let options: Options
    private let phase = Mutex(Phase.new)

    public init(_ methods: [RPCMethod], options: Options = Options()) {
        (self.methods, self.options) = (methods, options)
    }

    deinit {
        guard case .running(let server) = phase.withLock({ $0 }) else { return }
        Task { await server.stop(gracePeriod: .zero) }
    }

    /// Starts to serve on all of the addresses; when one cannot be had, on none.
    ///
    /// A socket file that a dead server left behind is replaced; one that is answered, or is no socket, is refused. The
    /// socket appears at its path all at once with `Options.socketMode`, ready for calls. A missing parent directory is
    /// made with mode 0750; its own parent must be there. Before the socket is moved to its path it is in a short-lived
    /// directory beside it.
    ///
    /// - Returns: the addresses, with the ports that were taken in place of port 0.
    /// - Throws: `PerSSDError`: alreadyExists for a live socket or a file that is no socket, unavailable for a port that is
    ///   taken, invalidArgument, failedPrecondition (a second time) or permissionDenied.
    @discardableResult
    public func listen(on addresses: [RPCAddress]) async throws -> [RPCAddress] {
        let start = try phase.withLock { phase in
            guard case .new = phase else {
                throw PerSSDError(.failedPrecondition, "the RPC server was started before; it starts only once")
            }
            let start = Task { try await RunningServer.start(methods, options, on: addresses) }
            phase = .starting(start)
            return start
        }
        let result = await start.result
        try phase.withLock { phase in
            guard case .starting = phase else {
                throw PerSSDError(.cancelled, "the RPC server was shut down while it started")
            }
            phase = if case .success(let server) = result { .running(server) } else { .new }
        }
        return try result.get().addresses
    }

    /// Starts to serve on one address.
    @discardableResult
    public func listen(on address: RPCAddress) async throws -> RPCAddress { try await listen(on: [address])[0] }

    /// Refuses new calls, lets those that run finish for at most `gracePeriod`, then cancels them, and returns when all is
    /// down: sockets removed, connections closed, no handler running.
    ///
    /// A handler that ignores its cancellation is waited for up to five seconds more. A second caller waits for the
    /// same end. Without a `listen` before it, it does nothing.
    ///
    /// - Returns: how many handlers still run in spite of their cancellation: 0, if they are well-behaved.
    @discardableResult
    public func shutdown(gracePeriod: Duration) async -> Int {
        let end = phase.withLock { phase -> Task<Int, Never>? in
            switch phase {
            case .new: return nil
            case .starting(let start):
                let end = Task { await (try? start.value)?.stop(gracePeriod: gracePeriod) ?? 0 }
                phase = .stopped(end)
                return end
            case .stopped(let end): return end
            case .running(let server):
                let end = Task { await server.stop(gracePeriod: gracePeriod) }
                phase = .stopped(end)
                return end
            }
        }
        return await end?.value ?? 0
    }
}
