import CCurl
import Errors

/// A transfer that brought no whole response, in libcurl's words.
struct TransferFailure {
    let result: CURLcode
    let message: String
    let trust: TLSTrust

    init(_ result: CURLcode, message: String, trust: TLSTrust) {
        (self.result, self.message, self.trust) = (result, message, trust)
    }

    /// See `HTTPClient.send` for the codes.
    func error(during action: String) -> PerSSDError {
        let reason = message.isEmpty ? String(cString: curl_easy_strerror(result)) : message
        let story = "\(action): \(reason)"
        switch result {
        case CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_ISSUER_ERROR:
            return PerSSDError(
                .failedPrecondition, "\(action): the server's certificate does not verify: \(reason)",
                remedy: trust.file.map { "check that '\($0)' holds the authority that signed it, and the host's name" }
                    ?? "give the PEM file of the authority that signed it as the CA bundle, and check the host's name")
        case CURLE_SSL_CACERT_BADFILE:
            return PerSSDError(
                .failedPrecondition, story,
                remedy: "check that '\(trust.file ?? "the system's list")' is a PEM file of certificates")
        case CURLE_URL_MALFORMAT:
            return PerSSDError(.invalidArgument, story, remedy: "give an address such as https://host:port")
        case CURLE_OUT_OF_MEMORY:
            return PerSSDError(.resourceExhausted, story)
        case CURLE_FAILED_INIT, CURLE_NOT_BUILT_IN, CURLE_BAD_FUNCTION_ARGUMENT, CURLE_UNKNOWN_OPTION:
            return PerSSDError(.internal, story)
        default:
            // No connection, no answer, half an answer: whatever else stops a transfer may be gone at the next try.
            return PerSSDError(.unavailable, story)
        }
    }
}
