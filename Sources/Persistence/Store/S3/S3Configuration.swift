import Errors
import HTTP

/// Where a bucket is and how to talk to it.
public struct S3Configuration: Sendable {
    /// How the bucket stands in an address.
    public enum Addressing: String, Sendable, CaseIterable {
        /// `https://host/bucket/key`: what most servers of one's own want.
        case path
        /// `https://bucket.host/key`: what AWS wants.
        case virtualHost
        /// Virtual host for AWS where the bucket's name allows it, else path.
        case automatic
    }

    public var bucket: String
    /// What all keys of this store begin with, without slashes at its ends; empty for the whole bucket.
    public var prefix: String
    public var endpoint: S3EndpointURL
    /// Signed into every request; servers of one's own mostly take any.
    public var region: String
    public var addressing = Addressing.automatic
    /// A PEM file of the authorities to trust in place of the system's.
    public var certificateAuthorities: String?
    public var credentials = S3CredentialsSource.automatic
    /// How many requests run at the same time.
    public var maximumRequests = 16
    /// A body longer than this is sent in parts, where no condition is asked for. In bytes.
    public var multipartThreshold = 64 << 20
    /// The size of each part but the last, in bytes: S3 takes no less than 5 MiB.
    public var partSize = 16 << 20
    /// An object longer than this is not read as a whole, in bytes.
    public var maximumObjectSize = 1 << 30
    public var timeouts = HTTPTimeouts()
    public var retries = RetryPolicy()

    /// - Parameter endpoint: nil for AWS in that region.
    /// - Throws: `invalidArgument` for a bucket, prefix, endpoint or region that cannot be.
    public init(bucket: String, prefix: String = "", endpoint: String? = nil, region: String = "us-east-1") throws {
        guard Self.isBucketName(bucket) else {
            throw PerSSDError(
                .invalidArgument, "'\(bucket.prefix(100))' cannot be the name of a bucket",
                remedy: "give 3 to 63 letters, digits, dots, hyphens or underscores")
        }
        guard prefix.isEmpty || (try? ObjectKey(prefix)) != nil, prefix.utf8.count <= 100 else {
            throw PerSSDError(
                .invalidArgument, "'\(prefix.prefix(200))' cannot be the prefix of a store in a bucket",
                remedy: "give at most 100 of the characters A-Z a-z 0-9 - _ . in segments between slashes")
        }
        guard !region.isEmpty, region.utf8.allSatisfy(Self.isNameByte) else {
            throw PerSSDError(
                .invalidArgument, "'\(region.prefix(100))' cannot be a region", remedy: "give one such as us-east-1")
        }
        (self.bucket, self.prefix, self.region) = (bucket, prefix, region)
        self.endpoint = try endpoint.map { try S3EndpointURL($0) } ?? S3EndpointURL(awsRegion: region)
    }

    /// Today's rules of AWS, but for capitals and underscores, which other servers and old buckets have.
    private static func isBucketName(_ name: String) -> Bool {
        (3...63).contains(name.utf8.count) && name.utf8.allSatisfy { isNameByte($0) || $0 == UInt8(ascii: ".") }
            && name.first != "." && name.first != "-" && name.last != "." && !name.contains("..")
    }

    private static func isNameByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
            true
        default: false
        }
    }

    /// - Throws: `invalidArgument` for settings that contradict each other or S3's limits.
    func validate() throws {
        func require(_ condition: Bool, _ message: String) throws {
            if !condition { throw PerSSDError(.invalidArgument, message) }
        }
        try require((1...1024).contains(maximumRequests), "the number of parallel requests has to be 1 to 1024")
        try require(
            ((5 << 20)...(5 << 30)).contains(partSize), "the size of a part has to be 5 MiB to 5 GiB, not \(partSize)")
        try require(
            (partSize...(5 << 30)).contains(multipartThreshold),
            "the size above which objects are sent in parts has to be that of one part to 5 GiB, "
                + "not \(multipartThreshold)")
        try require(retries.maximumAttempts >= 1, "a request needs at least one attempt")
    }

    /// For people and logs: "s3://bucket/prefix at http://host:8333".
    var location: String { "s3://\(bucket)\(prefix.isEmpty ? "" : "/\(prefix)") at \(endpoint)" }
}

/// Scheme, host and port of a server.
public struct S3EndpointURL: Sendable, Hashable, CustomStringConvertible {
    public let isSecure: Bool
    /// As it stands in `Host`: with the port where it is not the scheme's own.
    public let authority: String

    /// - Throws: `invalidArgument` where it is not "http://host", "https://host:port" or the like.
    public init(_ text: String) throws {
        let refusal = PerSSDError(
            .invalidArgument, "'\(text.prefix(200))' cannot be the endpoint of a store",
            remedy:
                "give a scheme, a host and if need be a port, such as https://s3.example.org or http://10.0.0.1:8333")
        let lowercase = text.lowercased()
        let scheme = ["https://", "http://"].first { lowercase.hasPrefix($0) }
        guard let scheme else { throw refusal }
        isSecure = scheme == "https://"
        var rest = lowercase.dropFirst(scheme.count)
        if rest.hasSuffix("/") { rest = rest.dropLast() }
        let host = rest.hasPrefix("[") ? rest.prefix { $0 != "]" } + "]" : rest.prefix { $0 != ":" }
        guard Self.isHost(host), rest.hasPrefix(host) else { throw refusal }
        let port = rest.dropFirst(host.count)
        guard !port.isEmpty else {
            authority = String(host)
            return
        }
        let isDecimal = port.dropFirst().utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
        guard port.hasPrefix(":"), isDecimal, let number = UInt16(port.dropFirst()), number > 0 else { throw refusal }
        authority = number == (isSecure ? 443 : 80) ? String(host) : "\(host):\(number)"
    }

    init(awsRegion region: String) throws {
        try self.init("https://s3.\(region).amazonaws.com\(region.hasPrefix("cn-") ? ".cn" : "")")
    }

    var isAWS: Bool { authority.hasSuffix(".amazonaws.com") || authority.hasSuffix(".amazonaws.com.cn") }

    public var description: String { "\(isSecure ? "https" : "http")://\(authority)" }

    private static func isHost(_ host: some StringProtocol) -> Bool {
        let isAddress = host.hasPrefix("[")
        let body = isAddress ? host.dropFirst().dropLast() : host[...]
        return !body.isEmpty
            && body.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
                    UInt8(ascii: "."):
                    true
                case UInt8(ascii: "-"), UInt8(ascii: "_"): !isAddress
                case UInt8(ascii: ":"): isAddress
                default: false
                }
            }
    }
}
