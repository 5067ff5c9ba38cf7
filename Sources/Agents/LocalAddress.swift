import Glibc

/// The address of this machine, or of this container, that others in its cluster most likely reach.
public enum LocalAddress {
    /// The first of an interface that is up and no loopback, IPv4 before IPv6; the loopback's where there is none.
    public static func discover() -> String {
        var list: UnsafeMutablePointer<ifaddrs>?
        guard getifaddrs(&list) == 0 else { return "127.0.0.1" }
        defer { freeifaddrs(list) }
        var fallback: String?
        for entry in sequence(first: list, next: { $0?.pointee.ifa_next }) {
            guard let interface = entry?.pointee, let address = interface.ifa_addr else { continue }
            let flags = interface.ifa_flags
            guard flags & UInt32(IFF_UP) != 0, flags & UInt32(IFF_LOOPBACK) == 0 else { continue }
            switch Int32(address.pointee.sa_family) {
            case AF_INET: if let text = text(address, socklen_t(MemoryLayout<sockaddr_in>.size)) { return text }
            case AF_INET6:
                // Addresses of a link are good with the name of an interface only.
                let text = text(address, socklen_t(MemoryLayout<sockaddr_in6>.size))
                if fallback == nil, let text, !text.hasPrefix("fe80") { fallback = text }
            default: break
            }
        }
        return fallback ?? "127.0.0.1"
    }

    private static func text(_ address: UnsafePointer<sockaddr>, _ length: socklen_t) -> String? {
        var buffer = [CChar](repeating: 0, count: Int(NI_MAXHOST))
        guard getnameinfo(address, length, &buffer, socklen_t(buffer.count), nil, 0, NI_NUMERICHOST) == 0 else {
            return nil
        }
        return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
