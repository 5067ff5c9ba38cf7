import Foundation
import Glibc

/// A socket without gRPC.
struct RawSocket {
    struct Failure: Error {
        let call: String
        let code = errno
    }

    let descriptor: Int32

    static func unix() throws -> RawSocket {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw Failure(call: "socket") }
        return RawSocket(descriptor: descriptor)
    }

    func bind(_ path: String) throws {
        guard withAddress(of: path, { Glibc.bind(descriptor, $0, $1) }) == 0 else { throw Failure(call: "bind") }
    }

    func connect(_ path: String) throws {
        guard withAddress(of: path, { Glibc.connect(descriptor, $0, $1) }) == 0 else { throw Failure(call: "connect") }
    }

    /// Sends what can be sent; the other side may close at any time.
    func send(_ bytes: [UInt8]) { _ = Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) }

    /// Whether the other side closes, perhaps after it said something, before the time is over.
    func isClosedByPeer(within seconds: Int) -> Bool {
        var timeout = timeval(tv_sec: seconds, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = recv(descriptor, &buffer, buffer.count, 0)
            if count == 0 { return true }
            if count < 0 { return errno == ECONNRESET }
        }
    }

    func close() { Glibc.close(descriptor) }

    private func withAddress(of path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
    }
}
