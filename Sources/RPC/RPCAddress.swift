import Errors
import Foundation

/// Where a server listens or a client connects: a Unix socket or a TCP port.
public enum RPCAddress: Sendable, Hashable {
    /// An absolute path.
    case unix(path: String)
    /// A host name or an IP address (IPv6 without brackets), and a port; port 0 lets a server take a free one.
    case tcp(host: String, port: UInt16)

    /// The longest path that fits in a Unix socket's address (unix(7): 108 bytes with the terminating zero).
    static let maximumPathLength = 107

    /// Reads the forms that CSI_ENDPOINT comes in: "unix:///path", "unix:path", "/path", "tcp://host:port",
    /// "host:port". A relative path is taken from the current directory.
    ///
    /// - Throws: `PerSSDError` (invalidArgument) that says what is wrong with the text.
    public init(_ text: String) throws(PerSSDError) {
        if let path = text.suffix(after: "unix://") {
            guard path.hasPrefix("/") else {
                throw Self.refused(text, "the part after unix:// is not an absolute path")
            }
            self = try Self.unix(path, in: text)
        } else if let path = text.suffix(after: "unix:") {
            self = try Self.unix(path, in: text)
        } else if text.hasPrefix("/") {
            self = try Self.unix(text, in: text)
        } else if let hostAndPort = text.suffix(after: "tcp://") {
            self = try Self.tcp(hostAndPort, in: text)
        } else if text.contains("://") {
            throw Self.refused(text, "its scheme is neither unix nor tcp")
        } else {
            self = try Self.tcp(text, in: text)
        }
    }

    private static func unix(_ path: String, in text: String) throws(PerSSDError) -> RPCAddress {
        guard !path.isEmpty else { throw refused(text, "the path is empty") }
        guard !path.utf8.contains(0) else { throw refused(text, "the path contains a zero byte") }
        guard !path.hasSuffix("/") else { throw refused(text, "the path names a directory") }
        let absolute =
            path.hasPrefix("/") ? path : FileManager.default.currentDirectoryPath + "/" + path
        guard absolute.utf8.count <= maximumPathLength else {
            throw refused(
                text, "the path has \(absolute.utf8.count) bytes, a Unix socket's at most \(maximumPathLength)")
        }
        return .unix(path: absolute)
    }

    private static func tcp(_ hostAndPort: String, in text: String) throws(PerSSDError) -> RPCAddress {
        guard let colon = hostAndPort.lastIndex(of: ":") else {
            throw refused(text, "it is neither a path nor host:port")
        }
        var host = hostAndPort[..<colon]
        let portText = hostAndPort[hostAndPort.index(after: colon)...]
        guard let port = UInt16(portText), portText.allSatisfy(\.isNumber) else {
            throw refused(text, "\"\(portText)\" is not a port number from 0 to 65535")
        }
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = host.dropFirst().dropLast()
            let allowed: Set<Character> = [":", ".", "%"]
            guard host.contains(":"),
                host.allSatisfy({ $0.isASCII && ($0.isLetter || $0.isNumber || allowed.contains($0)) })
            else { throw refused(text, "\"[\(host)]\" is not an IPv6 address") }
        } else {
            guard !host.isEmpty else {
                throw refused(text, "the host is empty; 0.0.0.0 or [::] stands for all addresses of the machine")
            }
            guard !host.contains(":") else { throw refused(text, "an IPv6 address needs brackets: [::1]:9000") }
            let allowed: Set<Character> = ["-", ".", "_"]
            guard host.allSatisfy({ $0.isASCII && ($0.isLetter || $0.isNumber || allowed.contains($0)) }) else {
                throw refused(text, "\"\(host)\" is not a host name")
            }
        }
        return .tcp(host: String(host), port: port)
    }

    private static func refused(_ text: String, _ reason: String) -> PerSSDError {
        PerSSDError(
            .invalidArgument, "\"\(text)\" is not an address to listen on or connect to: \(reason)",
            remedy: "write unix:///absolute/path, tcp://host:port or host:port")
    }
}

extension RPCAddress: CustomStringConvertible {
    /// In the form that `init` reads: "unix:///run/csi.sock", "tcp://[::1]:9000".
    public var description: String {
        switch self {
        case .unix(let path): "unix://\(path)"
        case .tcp(let host, let port): "tcp://\(Self.bracketed(host)):\(port)"
        }
    }

    /// What a gRPC server listens on.
    var listenerText: String {
        switch self {
        case .unix(let path): "unix:\(Self.percentEncoded(path))"
        case .tcp(let host, let port): "\(Self.bracketed(host)):\(port)"
        }
    }

    /// What a gRPC client connects to.
    var targetText: String {
        switch self {
        case .unix(let path): "unix:\(Self.percentEncoded(path))"
        case .tcp(let host, let port): "dns:///\(Self.bracketed(host)):\(port)"
        }
    }

    private static func bracketed(_ host: String) -> String { host.contains(":") ? "[\(host)]" : host }

    /// gRPC reads paths as parts of a URI, in which some characters have a meaning.
    private static func percentEncoded(_ path: String) -> String {
        var text = ""
        for byte in path.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "/"), UInt8(ascii: "."), UInt8(ascii: "-"),
                UInt8(ascii: "_"):
                text.unicodeScalars.append(Unicode.Scalar(byte))
            default:
                let digits = String(byte, radix: 16, uppercase: true)
                text += digits.count == 1 ? "%0\(digits)" : "%\(digits)"
            }
        }
        return text
    }
}

extension String {
    fileprivate func suffix(after prefix: String) -> String? {
        hasPrefix(prefix) ? String(dropFirst(prefix.count)) : nil
    }
}
