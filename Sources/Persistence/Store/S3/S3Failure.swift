import Errors
import Foundation
import HTTP
import XMLCoder

/// What a server says when it does not do what it was asked for: a status, and mostly an XML document with a code.
struct S3Failure: Error, Sendable {
    let status: Int
    /// "NoSuchKey" and so on; empty where the answer has no such document, as that to a HEAD.
    let code: String
    let message: String
    /// Where the bucket really is, when the server says so.
    let region: String?
    /// Names the request in the server's own logs.
    let requestID: String?

    private struct Document: Decodable {
        let code: String?
        let message: String?
        let region: String?
        let requestId: String?
    }

    init(_ response: HTTPResponse) {
        status = response.status
        let document = Self.document(response.body)
        code = document?.code ?? ""
        message = document?.message ?? ""
        region = response.headers["x-amz-bucket-region"] ?? document?.region
        requestID = response.headers["x-amz-request-id"] ?? document?.requestId
    }

    /// What is no XML document whose root is "Error" is no answer of S3.
    private static func document(_ body: [UInt8]) -> Document? {
        guard body.count <= 1 << 20, String(decoding: body.prefix(1024), as: UTF8.self).contains("<Error") else {
            return nil
        }
        return try? XMLDecoder.capitalized.decode(Document.self, from: Data(body))
    }

    /// Whether an answer with status 200 is an error all the same, as that to CompleteMultipartUpload can be.
    static func isHidden(in response: HTTPResponse) -> Bool {
        response.status == 200 && !(document(response.body)?.code ?? "").isEmpty
    }

    var isMissingObject: Bool { status == 404 && (code == "NoSuchKey" || code == "NoSuchVersion") }

    /// Whether the same request may succeed a little later.
    var isPassing: Bool {
        [429, 500, 502, 503, 504].contains(status) || Self.passingCodes.contains(code)
    }

    /// Whether the server may have done what was asked for, although it says that something went wrong.
    var mayHaveHappened: Bool { [500, 502, 503, 504].contains(status) }

    /// Whether other credentials, or the same ones fetched anew, may be let in.
    var isAboutCredentials: Bool {
        (status == 403 || status == 400 || status == 401)
            && (Self.credentialCodes.contains(code) || (code.isEmpty && status != 400))
    }

    var isConditionNotHeld: Bool { status == 412 || status == 304 || code == "PreconditionFailed" }

    private static let passingCodes: Set<String> = [
        "SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "Throttling", "TooManyRequests",
        "ConditionalRequestConflict", "OperationAborted", "BadDigest", "XAmzContentSHA256Mismatch",
        "XAmzContentChecksumMismatch", "IncompleteBody",
    ]

    private static let credentialCodes: Set<String> = [
        "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired",
        "RequestExpired", "ExpiredTokenException", "InvalidClientTokenId",
    ]

    private static let fullCodes: Set<String> = [
        "QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "InsufficientCapacity", "ServiceQuotaExceeded",
        "XMinioAdminBucketQuotaExceeded", "StorageFull",
    ]
}

extension S3Failure {
    /// "403 SignatureDoesNotMatch: The request signature ... (request 18EACA5B)".
    private var story: String {
        let head = code.isEmpty ? "\(status)" : "\(status) \(code)"
        let text = message.isEmpty ? "" : ": \(message.prefix(300))"
        return "the server answers \(head)\(text)\(requestID.map { " (request \($0.prefix(100)))" } ?? "")"
    }

    /// The failure in words for an operator.
    func error(_ configuration: S3Configuration) -> PerSSDError {
        let (kind, remedy) = judgement(configuration)
        return PerSSDError(kind, story, remedy: remedy)
    }

    private func judgement(_ configuration: S3Configuration) -> (PerSSDError.Code, String?) {
        let bucket = configuration.bucket
        switch code {
        case "NoSuchBucket":
            return (.storeMissing, "create the bucket '\(bucket)' at \(configuration.endpoint), or correct its name")
        case "InvalidAccessKeyId", "InvalidClientTokenId":
            return (.unauthenticated, "the server does not know the access key: give one that is valid there")
        case "SignatureDoesNotMatch":
            return (.unauthenticated, "the secret key does not belong to the access key: check it for a typing mistake")
        case "ExpiredToken", "InvalidToken", "TokenRefreshRequired", "RequestExpired", "ExpiredTokenException":
            return (.unauthenticated, "the temporary credentials are no longer valid: renew them")
        case "RequestTimeTooSkewed":
            return (.failedPrecondition, "set this machine's clock: it differs too much from the server's")
        case "AccessDenied", "AllAccessDisabled", "AccountProblem", "Forbidden":
            let rights = "reading, writing, deleting and listing below \(configuration.location)"
            return (.permissionDenied, "allow \(rights) to these credentials")
        case "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException",
            "TemporaryRedirect":
            return (.failedPrecondition, regionRemedy(configuration))
        case "EntityTooLarge":
            return (.outOfRange, nil)
        case "BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "IncompleteBody":
            return (.corrupt, "bytes arrive damaged at the server: look at the network between")
        default: break
        }
        if Self.fullCodes.contains(code) { return (.resourceExhausted, "make room in the bucket, or raise its quota") }
        if isPassing { return (.unavailable, nil) }
        switch status {
        case 507: return (.resourceExhausted, "make room in the bucket, or raise its quota")
        case 301, 302, 307: return (.failedPrecondition, regionRemedy(configuration))
        case 401: return (.unauthenticated, "check the credentials for \(configuration.endpoint)")
        case 403: return (.permissionDenied, "check the credentials and their rights on the bucket '\(bucket)'")
        case 412: return (.conflict, nil)
        case 501: return (.unsupported, "use a server that supports this part of S3")
        default:
            return (
                .failedPrecondition,
                code.isEmpty
                    ? "check that \(configuration.endpoint) is an S3 server and that its address is right" : nil
            )
        }
    }

    private func regionRemedy(_ configuration: S3Configuration) -> String {
        guard let region, region != configuration.region else {
            return "set the region and the endpoint of the bucket '\(configuration.bucket)'"
        }
        return "the bucket '\(configuration.bucket)' is in the region '\(region)', not '\(configuration.region)': "
            + "set that region"
    }
}
