import Errors
import FlyingSocks
import Glibc

/// Makes the socket that a server listens on.
enum ListeningSocket {
    /// Blocks while it looks up names.
    ///
    /// - Throws: as `MonitoringServer.listen`.
    static func open(host: String, port: UInt16) throws -> (socket: Socket, port: UInt16) {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_PASSIVE
        var list: UnsafeMutablePointer<addrinfo>?
        let error = getaddrinfo(host, String(port), &hints, &list)
        guard error == 0, let first = list else {
            throw refused(.invalidArgument, host, port, String(cString: gai_strerror(error)))
        }
        defer { freeaddrinfo(list) }
        do {
            let socket = try listen(first.pointee)
            return (socket, try boundPort(socket))
        } catch SocketError.failed(_, errno: let number, message: let message) {
            let code: PerSSDError.Code =
                switch number {
                case EADDRINUSE, EACCES, EPERM: .failedPrecondition
                default: .invalidArgument
                }
            throw refused(code, host, port, message)
        }
    }

    private static func listen(_ info: addrinfo) throws -> Socket {
        let socket = try Socket(domain: info.ai_family)
        do {
            closeOnExec(socket)
            try socket.setValue(true, for: .localAddressReuse)
            let raw = UnsafeRawPointer(info.ai_addr!)
            if info.ai_family == AF_INET6 {
                try socket.bind(to: raw.loadUnaligned(as: sockaddr_in6.self))
            } else {
                try socket.bind(to: raw.loadUnaligned(as: sockaddr_in.self))
            }
        } catch {
            try? socket.close()
            throw error
        }
        // Closes it itself where it fails.
        try socket.listen(maxPendingConnection: 64)
        return socket
    }

    private static func boundPort(_ socket: Socket) throws -> UInt16 {
        switch try socket.sockname() {
        case .ip4(_, port: let port), .ip6(_, port: let port): port
        case .unix: 0
        }
    }

    /// The programs that a plugin starts have no business with it.
    static func closeOnExec(_ socket: Socket) { _ = fcntl(socket.file.rawValue, F_SETFD, FD_CLOEXEC) }

    /// Tells the client that the answer is complete.
    static func endWriting(_ socket: Socket) { _ = shutdown(socket.file.rawValue, Int32(SHUT_WR)) }

    private static func refused(
        _ code: PerSSDError.Code, _ host: String, _ port: UInt16, _ reason: String
    ) -> PerSSDError {
        PerSSDError(
            code, "cannot serve metrics at \(host.contains(":") ? "[\(host)]" : host):\(port): \(reason)",
            remedy: "choose another address with --metrics-listen, or stop who has it")
    }
}
