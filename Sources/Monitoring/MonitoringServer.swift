import Blocking
import Errors
import FlyingSocks
import Foundation
import Logging
import Synchronization

/// Answers GET and HEAD at a few paths over HTTP/1.1, one request a connection: what Prometheus and probes need, and no more.
///
/// Whatever its clients do, it takes little from the process: connections, their time, and the bytes of a request are
/// bounded, and no thread waits for a client. Of FlyingFox it uses the sockets only, as its HTTP server bounds none of these.
public final class MonitoringServer: Sendable {
    public struct Limits: Sendable {
        /// Where there is one more, the oldest is closed.
        public var connections = 32
        /// From the first byte to the last.
        public var connectionTime = Duration.seconds(10)
        /// How long a path may take to find its answer.
        public var answerTime = Duration.seconds(5)
        /// Of a request's line and headers.
        public var headBytes = 8192

        public init() {}
    }

    public typealias Path = @Sendable () async -> MonitoringAnswer

    /// Where it listens, as `listen` was given, with the port that was free in place of 0.
    public let port: UInt16
    private let socket: Socket
    private let paths: [String: Path]
    private let limits: Limits
    private let logger: Logger
    private let connections = Mutex(Connections())

    private struct Connections {
        var next = 0
        var open: [Int: Task<Void, Never>] = [:]
    }

    private init(socket: Socket, port: UInt16, paths: [String: Path], limits: Limits, logger: Logger) {
        (self.socket, self.port, self.paths, self.limits) = (socket, port, paths, limits)
        self.logger = logger
    }

    deinit { try? socket.close() }

    /// Takes the address; nobody is answered before `run`.
    ///
    /// - Parameters:
    ///   - host: a name or an IP address of this machine, IPv6 without brackets.
    ///   - port: 0 for a free one.
    ///   - paths: what is answered where, such as "/metrics"; anything else is 404.
    /// - Throws: `failedPrecondition` where somebody has the port, or the process may not have it; `invalidArgument` where
    ///   the address is not this machine's.
    public static func listen(
        host: String, port: UInt16, paths: [String: Path], limits: Limits = Limits(), logger: Logger
    ) async throws -> MonitoringServer {
        let (socket, port) = try await BlockingPool.shared.run { try ListeningSocket.open(host: host, port: port) }
        return MonitoringServer(socket: socket, port: port, paths: paths, limits: limits, logger: logger)
    }

    /// Answers until the task is cancelled.
    public func run() async {
        while !Task.isCancelled {
            do {
                try await serve()
            } catch is CancellationError {
                break
            } catch {
                if Task.isCancelled { break }
                // Nothing that fails here is a reason to end the process.
                logger.warning("metrics cannot be served for a moment: \(error)")
                try? await Task.sleep(for: .seconds(1))
            }
        }
    }

    private func serve() async throws {
        let pool: SocketPool<ePoll> = .ePoll()
        try await pool.prepare()
        let listener = try AsyncSocket(socket: socket, pool: pool)
        defer { for task in connections.withLock({ Array($0.open.values) }) { task.cancel() } }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await pool.run() }
            group.addTask { try await self.acceptConnections(listener, pool) }
            defer { group.cancelAll() }
            try await group.next()
        }
    }

    private func acceptConnections(_ listener: AsyncSocket, _ pool: SocketPool<ePoll>) async throws {
        while true {
            try Task.checkCancellation()
            do {
                let accepted = try await listener.accept()
                ListeningSocket.closeOnExec(accepted.socket)
                await makeRoom()
                begin(accepted, pool)
            } catch SocketError.failed(_, errno: let number, message: let message) {
                // Above all EMFILE: what the process itself has to do goes first.
                logger.debug("cannot accept a connection: \(message)", metadata: ["errno": "\(number)"])
                try await Task.sleep(for: .milliseconds(100))
            }
        }
    }

    /// Closes the oldest connection where there are as many as may be. A client that has sent its request is answered within
    /// milliseconds, so the oldest is one that has not.
    private func makeRoom() async {
        let oldest = connections.withLock { connections -> Task<Void, Never>? in
            guard connections.open.count >= limits.connections else { return nil }
            return connections.open.min { $0.key < $1.key }?.value
        }
        oldest?.cancel()
        await oldest?.value
    }

    private func begin(_ socket: AsyncSocket, _ pool: SocketPool<ePoll>) {
        connections.withLock { connections in
            let id = connections.next
            connections.next += 1
            connections.open[id] = Task {
                await self.serve(socket)
                await Self.settle(pool)
                try? socket.close()
                self.connections.withLock { _ = $0.open.removeValue(forKey: id) }
            }
        }
    }

    /// The pool wakes whoever waits for a socket first, and forgets the socket then. Closed in between, the socket's number would
    /// stay known to the pool, and the next connection that gets it would never be woken. Here the pool is through with it.
    private static func settle(_ pool: isolated SocketPool<ePoll>) {}

    private func serve(_ socket: AsyncSocket) async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.converse(socket) }
            group.addTask { [limits] in try? await Task.sleep(for: limits.connectionTime) }
            await group.next()
            group.cancelAll()
        }
    }

    /// A client that goes away, or is cut off, gets no answer, and that is all.
    private func converse(_ socket: AsyncSocket) async {
        do {
            let request = try await readHead(socket).flatMap { RequestHead.parse($0) }
            switch request {
            case .success(let head): try await socket.write(await answer(head).bytes(withBody: head.method != "HEAD"))
            case .failure(let refusal): try await socket.write(refusal.answer.bytes(withBody: true))
            }
            // Bytes that were never read would make the kernel take the answer back.
            ListeningSocket.endWriting(socket.socket)
            var left = 64 << 10
            while left > 0 { left -= try await socket.read(atMost: 4096).count }
        } catch {
            logger.trace("a connection ended: \(error)")
        }
    }

    /// The request up to the empty line.
    private func readHead(_ socket: AsyncSocket) async throws -> Result<[UInt8], RequestRefusal> {
        var bytes: [UInt8] = []
        while bytes.count <= limits.headBytes {
            if let end = RequestHead.end(in: bytes) { return .success(Array(bytes[..<end])) }
            bytes += try await socket.read(atMost: 4096)
        }
        return .failure(RequestRefusal(status: 431, reason: "the request has more than \(limits.headBytes) bytes"))
    }

    private func answer(_ head: RequestHead) async -> MonitoringAnswer {
        guard let path = paths[head.path] else {
            return MonitoringAnswer(
                status: 404, text: "not found; there are \(paths.keys.sorted().joined(separator: ", "))")
        }
        guard head.method == "GET" || head.method == "HEAD" else {
            var answer = MonitoringAnswer(status: 405, text: "GET and HEAD only")
            answer.headers = [("Allow", "GET, HEAD")]
            return answer
        }
        return await within(limits.answerTime) { await path() }
            ?? MonitoringAnswer(status: 503, text: "no answer within \(limits.answerTime.components.seconds) s")
    }
}

/// What `work` returns, or nil where that takes longer; it then goes on by itself.
private func within<Value: Sendable>(
    _ time: Duration, _ work: @escaping @Sendable () async -> Value
) async -> Value? {
    let (values, continuation) = AsyncStream<Value?>.makeStream()
    Task { continuation.yield(await work()) }
    let timer = Task {
        try? await Task.sleep(for: time)
        continuation.yield(nil)
    }
    defer { timer.cancel() }
    for await value in values { return value }
    return nil
}
