import Errors
import FlyingFox
import FlyingSocks
import Glibc
import Logging

/// Answers GET and HEAD at a few paths over HTTP/1.1: what Prometheus and probes need, and no more. FlyingFox does HTTP.
public final class MonitoringServer: Sendable {
    public struct Limits: Sendable {
        /// Where there is one more, the oldest is closed.
        public var connections = 32
        /// From the first byte to the last.
        public var connectionTime = Duration.seconds(10)
        /// How long a path may take to find its answer.
        public var answerTime = Duration.seconds(5)
        /// Who has sent more is cut off within a moment.
        public var requestBytes: Int64 = 16384

        public init() {}
    }

    public typealias Path = @Sendable () async -> MonitoringAnswer

    /// Where it listens, as `listen` was given, with the port that was free in place of 0.
    public let port: UInt16
    private let serving: Task<Void, Never>

    private init(port: UInt16, serving: Task<Void, Never>) { (self.port, self.serving) = (port, serving) }

    deinit { serving.cancel() }

    /// Takes the address, and answers there from now on.
    ///
    /// - Parameters:
    ///   - host: an IP address of this machine, IPv6 without brackets.
    ///   - port: 0 for a free one.
    ///   - paths: what is answered where, such as "/metrics"; anything else is 404.
    /// - Throws: `failedPrecondition` where somebody has the port, or the process may not have it; `invalidArgument` where
    ///   the address is not this machine's.
    public static func listen(
        host: String, port: UInt16, paths: [String: Path], limits: Limits = Limits(), logger: Logger
    ) async throws -> MonitoringServer {
        func refused(_ code: PerSSDError.Code, _ reason: String) -> PerSSDError {
            PerSSDError(
                code, "cannot serve metrics at \(host.contains(":") ? "[\(host)]" : host):\(port): \(reason)",
                remedy: "choose another address with --metrics-listen, or stop who has it")
        }
        guard let wanted = try? address(host, port) else { throw refused(.invalidArgument, "it is no IP address") }
        do {
            let port = try freePort(wanted)
            // The time limit is for answers, which have one of their own.
            let server = HTTPServer(
                address: try address(host, port), timeout: 60, pool: BoundedSocketPool(limits), logger: .disabled,
                handler: MonitoringHandler(paths: paths, time: limits.answerTime))
            let serving = Task { await serve(server, logger) }
            try await server.waitUntilListening(timeout: 10)
            return MonitoringServer(port: port, serving: serving)
        } catch SocketError.failed(_, errno: let number, message: let message) {
            throw refused(
                [EADDRINUSE, EACCES, EPERM].contains(number) ? .failedPrecondition : .invalidArgument, message)
        } catch {
            throw refused(.unavailable, "\(error)")
        }
    }

    /// Answers until the task is cancelled; then nobody is answered any more.
    public func run() async {
        await withTaskCancellationHandler { [serving] in
            await serving.value
        } onCancel: { [serving] in
            serving.cancel()
        }
    }

    private static func serve(_ server: HTTPServer, _ logger: Logger) async {
        while true {
            do { try await server.run() } catch {
                if Task.isCancelled { return }
                // Above all where no descriptors are left. Nothing that fails here is a reason to end the process.
                logger.warning("metrics cannot be served for a moment: \(error)")
                try? await Task.sleep(for: .seconds(1))
            }
        }
    }

    private static func address(_ host: String, _ port: UInt16) throws -> any SocketAddress {
        host.contains(":")
            ? try sockaddr_in6.inet6(ip6: host, port: port) : try sockaddr_in.inet(ip4: host, port: port)
    }

    /// The server tells nobody at once that it cannot have an address, so that is tried before.
    private static func freePort(_ address: any SocketAddress) throws -> UInt16 {
        let socket = try Socket(domain: Int32(address.family))
        defer { try? socket.close() }
        try socket.setValue(true, for: .localAddressReuse)
        try socket.bind(to: address)
        switch try socket.sockname() {
        case .ip4(_, port: let port), .ip6(_, port: let port): return port
        case .unix: throw SocketError.unsupportedAddress
        }
    }
}
