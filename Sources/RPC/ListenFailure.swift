import Errors
import Glibc

/// gRPC says only that it could not listen. This finds out why, by trying what it tried.
enum ListenFailure {
    /// Blocks while it looks up names.
    static func explain(_ addresses: [RPCAddress]) -> PerSSDError {
        for address in addresses {
            guard case .tcp(let host, let port) = address, let reason = tryToBind(host, port) else { continue }
            return PerSSDError(
                reason.code, "cannot listen on \(address): \(reason.text)",
                remedy: "choose another address, or stop who has it")
        }
        let list = addresses.map(\.description).joined(separator: ", ")
        return PerSSDError(.unavailable, "cannot listen on \(list)")
    }

    private static func tryToBind(_ host: String, _ port: UInt16) -> (code: PerSSDError.Code, text: String)? {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_PASSIVE
        var list: UnsafeMutablePointer<addrinfo>?
        let error = getaddrinfo(host, String(port), &hints, &list)
        guard error == 0, let first = list else {
            return (.invalidArgument, String(cString: gai_strerror(error)))
        }
        defer { freeaddrinfo(first) }
        let flags = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
        let descriptor = socket(first.pointee.ai_family, flags, 0)
        guard descriptor >= 0 else { return (.internal, String(cString: strerror(errno))) }
        defer { close(descriptor) }
        var on: Int32 = 1
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, socklen_t(MemoryLayout<Int32>.size))
        guard bind(descriptor, first.pointee.ai_addr, first.pointee.ai_addrlen) != 0 || listen(descriptor, 1) != 0
        else { return nil }
        return switch errno {
        case EACCES, EPERM: (.permissionDenied, String(cString: strerror(errno)))
        case EADDRINUSE: (.unavailable, String(cString: strerror(errno)))
        default: (.invalidArgument, String(cString: strerror(errno)))
        }
    }
}
