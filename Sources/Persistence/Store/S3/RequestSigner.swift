import Digests
import Foundation
import HTTP

/// AWS Signature Version 4 in its header form ("Signature Version 4 signing process" in the AWS documentation).
struct RequestSigner: Sendable {
    let region: String
    /// "s3", and "sts" for the service that hands out credentials.
    let service: String

    /// A request as it is signed: path and query are percent-encoded already, once.
    struct Parts {
        var method: String
        var path: String
        /// Encoded names and values, in any order.
        var query: [(name: String, value: String)]
        /// With `Host`; all of them are signed.
        var headers: HTTPHeaders
        /// In hexadecimal.
        var payloadDigest: String
    }

    /// - Returns: the value of the `Authorization` header. `parts.headers` must hold `X-Amz-Date` for that same `time`,
    ///   and the session token where the credentials have one: both are signed.
    func authorization(_ parts: Parts, credentials: S3Credentials, time: Date) -> String {
        let timestamp = ServerDates.signatureTime(time)
        let scope = "\(timestamp.prefix(8))/\(region)/\(service)/aws4_request"
        let (request, signedHeaders) = canonicalRequest(parts)
        let text = "AWS4-HMAC-SHA256\n\(timestamp)\n\(scope)\n\(SHA256.digest(request).hex)"
        let steps = [String(timestamp.prefix(8)), region, service, "aws4_request", text]
        let signature = steps.reduce(Array("AWS4\(credentials.secretAccessKey)".utf8)) { key, step in
            SHA256.authenticationCode(of: Array(step.utf8), key: key).bytes
        }
        return "AWS4-HMAC-SHA256 Credential=\(credentials.accessKeyID)/\(scope), "
            + "SignedHeaders=\(signedHeaders), Signature=\(signature.hex)"
    }

    private func canonicalRequest(_ parts: Parts) -> (text: String, signedHeaders: String) {
        var values: [String: [String]] = [:]
        for field in parts.headers.fields { values[field.name.lowercased(), default: []].append(oneLine(field.value)) }
        let names = values.keys.sorted()
        let headers = names.map { "\($0):\(values[$0, default: []].joined(separator: ","))\n" }.joined()
        let query = parts.query.map { [$0.name, $0.value] }
            .sorted { $0.lexicographicallyPrecedes($1) { $0.utf8.lexicographicallyPrecedes($1.utf8) } }
            .map { "\($0[0])=\($0[1])" }.joined(separator: "&")
        let signedHeaders = names.joined(separator: ";")
        let lines = [parts.method, parts.path, query, headers, signedHeaders, parts.payloadDigest]
        return (lines.joined(separator: "\n"), signedHeaders)
    }

    /// Without blanks at the ends, and with one for each run of them.
    private func oneLine(_ value: String) -> String {
        value.split { $0 == " " || $0 == "\t" }.joined(separator: " ")
    }
}
