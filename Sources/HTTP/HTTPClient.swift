import CCurl
import Errors

/// An HTTP/1.1 client on libcurl: connections are kept and used again, transfers run in parallel up to a bound, all on
/// one thread of the client's own. Certificates and host names are always verified.
///
/// Redirects are not followed: a signed request is good for one address only. Proxies are taken from the environment, as
/// curl(1) does.
public final class HTTPClient: Sendable {
    private let loop: TransferLoop
    private let trust: TLSTrust

    /// - Parameters:
    ///   - maximumTransfers: how many requests run at the same time; others wait their turn, first come first served.
    ///   - certificateAuthorities: a PEM file of the authorities to trust in place of the system's.
    ///   - label: the name of the thread.
    /// - Throws: `failedPrecondition` where that file cannot be read, `internal` where libcurl does not start.
    public init(maximumTransfers: Int = 16, certificateAuthorities: String? = nil, label: String = "http") throws {
        precondition(maximumTransfers > 0)
        trust = try TLSTrust(file: certificateAuthorities)
        loop = try TransferLoop(maximumTransfers: maximumTransfers)
        loop.start(label: label)
    }

    /// What runs is seen to its end; the thread ends after it.
    deinit { loop.close() }

    /// Sends the request and waits for the whole response.
    ///
    /// - Throws: `unavailable` where no whole response came (no connection, a timeout, a connection that broke);
    ///   `failedPrecondition` where the server's certificate does not verify; `outOfRange` where the response is longer
    ///   than the request allows; `invalidArgument` for an address or header that cannot be sent; `cancelled` where the
    ///   task was cancelled, which ends the transfer at once.
    public func send(_ request: HTTPRequest) async throws -> HTTPResponse {
        if let field = request.headers.fields.first(where: { !$0.isValid }) {
            throw PerSSDError(.invalidArgument, "the header '\(field.name)' holds characters that cannot be sent")
        }
        guard ["http://", "https://"].contains(where: { request.url.hasPrefix($0) }) else {
            throw PerSSDError(
                .invalidArgument, "'\(request.url.prefix(200))' is no address to send a request to",
                remedy: "give one such as https://host:port/path")
        }
        let transfer = Transfer(request, trust: trust)
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                transfer.continuation = continuation
                loop.submit(transfer)
            }
        } onCancel: {
            loop.cancel(transfer)
        }
    }
}

/// Whose certificates count.
struct TLSTrust: Sendable {
    /// A PEM file; nil for the system's authorities.
    let file: String?

    init(file: String?) throws {
        self.file = file
        guard let file else { return }
        guard TLSTrust.isReadable(file) else {
            throw PerSSDError(
                .failedPrecondition, "the file of certificate authorities '\(file)' cannot be read",
                remedy: "name a readable PEM file, or leave the setting out to trust the system's authorities")
        }
    }
}
