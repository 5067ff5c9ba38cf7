import Digests
import Foundation
import HTTP

/// One request to the bucket, before it is signed.
struct S3Request: Sendable {
    var operation: StoreStatistics.Operation
    var method: HTTPRequest.Method
    /// The whole key, with the store's prefix; nil for the bucket itself.
    var key: String?
    var query: [(name: String, value: String)] = []
    var headers = HTTPHeaders()
    var body: ArraySlice<UInt8>?
    /// Of the body.
    var digest: Digest = emptyDigest
    var maximumResponseBytes = 16 << 20
    /// See `HTTPRequest.needsNewConnection`.
    var needsNewConnection = false

    static let emptyDigest = SHA256.digest([])

    init(
        _ operation: StoreStatistics.Operation, _ method: HTTPRequest.Method, key: String? = nil,
        query: [(name: String, value: String)] = []
    ) {
        (self.operation, self.method, self.key, self.query) = (operation, method, key, query)
    }

    /// With the body's digest both signed and as the checksum that the server keeps: one computation serves both.
    mutating func attach(_ body: ArraySlice<UInt8>) {
        self.body = body
        digest = body.withUnsafeBytes { SHA256.digest($0) }
        headers["x-amz-checksum-sha256"] = digest.base64
        // A server that refuses can say so before tens of MiB are on their way.
        if body.count >= 1 << 20 { headers["Expect"] = "100-continue" }
    }

    /// The request as it is sent, signed for `time`.
    func signed(
        for configuration: S3Configuration, with credentials: S3Credentials, time: Date
    ) -> HTTPRequest {
        let address = S3Address(configuration, key: key)
        let query = query.map { (PercentEncoding.encode($0.name), PercentEncoding.encode($0.value)) }
        var signedHeaders = headers
        signedHeaders["Expect"] = nil
        signedHeaders["Host"] = address.host
        signedHeaders["x-amz-date"] = ServerDates.signatureTime(time)
        signedHeaders["x-amz-content-sha256"] = digest.hex
        if let token = credentials.sessionToken { signedHeaders["x-amz-security-token"] = token }
        let parts = RequestSigner.Parts(
            method: method.rawValue, path: address.path, query: query, headers: signedHeaders,
            payloadDigest: digest.hex)
        let signer = RequestSigner(region: configuration.region, service: "s3")
        var allHeaders = signedHeaders
        allHeaders["Authorization"] = signer.authorization(parts, credentials: credentials, time: time)
        allHeaders["Expect"] = headers["Expect"]
        allHeaders["User-Agent"] = "perssd"
        let text = query.map { "\($0.0)=\($0.1)" }.joined(separator: "&")
        let scheme = configuration.endpoint.isSecure ? "https" : "http"
        var request = HTTPRequest(
            method, "\(scheme)://\(address.host)\(address.path)\(text.isEmpty ? "" : "?\(text)")", headers: allHeaders,
            body: body, maximumResponseBytes: maximumResponseBytes)
        request.timeouts = configuration.timeouts
        request.needsNewConnection = needsNewConnection
        return request
    }
}

extension Digest {
    /// As S3's checksum headers want it.
    var base64: String { Data(bytes).base64EncodedString() }
}

/// Where an object, or the bucket, is: the value of `Host` and the encoded path.
struct S3Address: Equatable {
    let host: String
    let path: String

    init(_ configuration: S3Configuration, key: String?) {
        let encoded = PercentEncoding.encode(key ?? "", keepingSlashes: true)
        if configuration.usesVirtualHost {
            host = "\(configuration.bucket).\(configuration.endpoint.authority)"
            path = "/\(encoded)"
        } else {
            host = configuration.endpoint.authority
            path = key == nil ? "/\(configuration.bucket)" : "/\(configuration.bucket)/\(encoded)"
        }
    }
}

extension S3Configuration {
    /// A bucket with dots in its name matches no wildcard certificate, so it stays in the path.
    fileprivate var usesVirtualHost: Bool {
        switch addressing {
        case .path: false
        case .virtualHost: true
        case .automatic: endpoint.isAWS && !bucket.contains(".") && bucket == bucket.lowercased()
        }
    }
}
