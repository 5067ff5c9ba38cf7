import CLinux
import FlyingSocks
import Glibc
import Synchronization

/// The pool of sockets that FlyingFox's server waits in, with bounds that the server has not: on how long a client may take,
/// on how much it may send, and on how many there may be.
///
/// The server waits for a socket as soon as its client lets it wait, so whoever is silent or slow is seen here. Only who
/// sends without a pause from the first byte on is not: docs/limitations.md.
final class BoundedSocketPool: AsyncSocketPool {
    private let pool: SocketPool<ePoll> = .ePoll()
    private let limits: MonitoringServer.Limits
    /// Those that have waited, the oldest first.
    private let connections = Mutex<[Connection]>([])

    init(_ limits: MonitoringServer.Limits) { self.limits = limits }

    func prepare() async throws { try await pool.prepare() }

    func run() async throws { try await pool.run() }

    func suspendSocket(_ socket: Socket, untilReadyFor events: Socket.Events) async throws {
        // The programs that a plugin starts have no business with it.
        _ = fcntl(socket.file.rawValue, F_SETFD, FD_CLOEXEC)
        if let connection = Connection(socket.file.rawValue) {
            watch(connection)
        } else {
            // The server accepts all of the kernel's queue at one go, so that may not be thousands.
            _ = listen(socket.file.rawValue, 128)
        }
        do { try await pool.suspendSocket(socket, untilReadyFor: events) } catch {
            await Self.settle(pool)
            throw error
        }
        await Self.settle(pool)
    }

    /// The pool wakes whoever waits for a socket first, and forgets the socket then. Closed in between, the socket's number would
    /// stay known to the pool, and the next connection that gets it would never be woken. Here the pool is through with it.
    private static func settle(_ pool: isolated SocketPool<ePoll>) {}

    private func watch(_ connection: Connection) {
        connections.withLock { connections in
            guard !connections.contains(connection) else { return }
            // A client that has sent its request is answered within milliseconds, so the oldest is one that has not.
            if connections.count >= limits.connections { _ = connections.removeFirst().isOver(orEnd: true) }
            connections.append(connection)
            Task { await end(connection) }
        }
    }

    /// Waits until the connection is over, and ends it where that takes too long.
    private func end(_ connection: Connection) async {
        let end = ContinuousClock.now + limits.connectionTime
        while !connection.isOver(orEnd: .now >= end || connection.receivedBytes > limits.requestBytes) {
            try? await Task.sleep(for: .milliseconds(100))
        }
        connections.withLock { $0.removeAll { $0 == connection } }
    }
}

/// A client's connection, whoever gets its descriptor's number after it.
private struct Connection: Equatable {
    private let descriptor: Int32
    private let cookie: UInt64

    /// Nil for a socket that listens.
    init?(_ descriptor: Int32) {
        self.descriptor = descriptor
        cookie = clinux_socket_cookie(descriptor)
        guard clinux_tcp_received(descriptor) >= 0 else { return nil }
    }

    var receivedBytes: Int64 { clinux_tcp_received(descriptor) }

    /// Whether the server has closed it, or will, as nothing comes and goes any more.
    func isOver(orEnd mustEnd: Bool) -> Bool {
        // A copy stays this connection while it is looked at, whatever the server closes meanwhile.
        let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
        guard copy >= 0 else { return errno == EBADF }
        defer { close(copy) }
        if clinux_socket_cookie(copy) != cookie { return true }
        return mustEnd && shutdown(copy, Int32(SHUT_RDWR)) == 0
    }
}
