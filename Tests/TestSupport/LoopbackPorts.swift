import Blocking
import Foundation
import Synchronization

/// A TCP port of 127.0.0.1 that nobody uses now.
public func freePort() throws -> Int { try freePorts(1)[0] }

/// Different ports of 127.0.0.1 that nobody uses now, and that stay free until they are used: none of those that the kernel gives to
/// whoever connects somewhere, or binds to any port. No port is given out twice by one process.
public func freePorts(_ count: Int) throws -> [Int] {
    let candidates = 10240..<(try firstPortOfTheKernel())
    guard candidates.count > 1000 else {
        throw TestSetupError("the kernel gives away all ports: see net.ipv4.ip_local_port_range")
    }
    var ports: [Int] = []
    for _ in 0..<1000 where ports.count < count {
        let port = Int.random(in: candidates)
        if try isFree(port), givenOut.withLock({ $0.insert(port).inserted }) { ports.append(port) }
    }
    guard ports.count == count else { throw TestSetupError("no free ports") }
    return ports
}

private let givenOut = Mutex<Set<Int>>([])

private func firstPortOfTheKernel() throws -> Int {
    let text = try String(contentsOfFile: "/proc/sys/net/ipv4/ip_local_port_range", encoding: .utf8)
    guard let first = text.split(whereSeparator: \.isWhitespace).first.flatMap({ Int($0) }), first > 10240 else {
        throw TestSetupError("net.ipv4.ip_local_port_range is '\(text)'")
    }
    return first
}

private func isFree(_ port: Int) throws -> Bool {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw TestSetupError("cannot make a socket: \(errnoText())") }
    defer { close(descriptor) }
    var address = loopbackAddress(port: port)
    return withUnsafeMutablePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
        }
    }
}

/// The status of `GET path` on 127.0.0.1; nil where nobody answers in HTTP within two seconds.
public func httpStatus(port: Int, path: String = "/") async -> Int? {
    try? await BlockingPool.shared.run { blockingHTTPStatus(port: port, path: path) }
}

private func blockingHTTPStatus(port: Int, path: String) -> Int? {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var limit = timeval(tv_sec: 2, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    var address = loopbackAddress(port: port)
    let connected = withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
        }
    }
    guard connected else { return nil }
    let request = Array("GET \(path) HTTP/1.1\r\nHost: 127.0.0.1:\(port)\r\nConnection: close\r\n\r\n".utf8)
    guard send(descriptor, request, request.count, Int32(MSG_NOSIGNAL)) == request.count else { return nil }
    var answer = [UInt8](repeating: 0, count: 64)
    let count = recv(descriptor, &answer, answer.count, Int32(MSG_WAITALL))
    guard count > 12 else { return nil }
    let line = String(decoding: answer.prefix(count), as: UTF8.self)
    return line.hasPrefix("HTTP/") ? line.split(separator: " ").dropFirst().first.flatMap { Int($0) } : nil
}

private func loopbackAddress(port: Int) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = in_port_t(port).bigEndian
    address.sin_addr.s_addr = INADDR_LOOPBACK.bigEndian
    return address
}
