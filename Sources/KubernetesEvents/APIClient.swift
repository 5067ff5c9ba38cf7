import Blocking
import Errors
import Foundation
import HTTP

/// Asks the API server for one thing at a time, with the service account's token.
final class APIClient: Sendable {
    let server: APIServer
    private let http: HTTPClient
    private let timeouts: HTTPTimeouts

    /// A token is some KiB; a file that is longer is none.
    private static let longestToken = 64 << 10

    /// - Throws: `failedPrecondition` where the file of authorities cannot be read.
    init(_ server: APIServer, timeouts: HTTPTimeouts) throws {
        self.server = server
        self.timeouts = timeouts
        http = try HTTPClient(
            maximumTransfers: 1, certificateAuthorities: server.certificateAuthorities, label: "kubernetes-api")
    }

    /// - Parameter body: JSON.
    /// - Throws: `unavailable` where no answer came; `unauthenticated` where there is no token; as `HTTPClient.send`.
    func send(
        _ method: HTTPRequest.Method, _ path: String, _ body: [UInt8], contentType: String
    ) async throws -> APIAnswer {
        var request = HTTPRequest(
            method, server.url + path,
            headers: [
                "Authorization": "Bearer \(try await token())", "Content-Type": contentType,
                "Accept": "application/json", "User-Agent": "perssd",
            ], body: body[...])
        request.timeouts = timeouts
        // The server is inside of the cluster, and proxies are for what is outside.
        request.usesProxy = false
        return APIAnswer(try await http.send(request))
    }

    private func token() async throws -> String {
        let file = server.tokenFile
        let text = try await BlockingPool.shared.run {
            guard let handle = FileHandle(forReadingAtPath: file) else {
                throw PerSSDError(
                    .unauthenticated, "the token of the service account, \(file), cannot be read",
                    remedy: "mount it into the container, or switch events off")
            }
            defer { try? handle.close() }
            return String(decoding: try handle.read(upToCount: Self.longestToken) ?? Data(), as: UTF8.self)
        }
        let token = text.trimmingCharacters(in: .whitespacesAndNewlines)
        // Of what a header cannot have, no error is to repeat a word.
        guard !token.isEmpty, token.utf8.allSatisfy({ (0x21...0x7e).contains($0) }) else {
            throw PerSSDError(.unauthenticated, "\(file) holds no token", remedy: "check how it is mounted")
        }
        return token
    }
}
