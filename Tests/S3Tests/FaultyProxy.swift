import Foundation
import HTTP
import TestSupport

/// What goes wrong, for which requests; see Scripts/faulty_proxy.py.
struct Fault: Encodable {
    var kind: String
    var method: String?
    var contains: String?
    var times: Int?
    var skip: Int?
    var status: Int?
    var code: String?
    /// The whole body of an answer, in the place of S3's document.
    var text: String?
    var headers: [String: String]?
    var bytes: Int?
    var seconds: Double?
}

/// A proxy before a real server that cuts connections, loses answers and the like, when told to. It has no part in what
/// the server itself does: those answers are real.
final class FaultyProxy: Sendable {
    let port: Int
    private let process: TestProcess
    private let directory: TemporaryDirectory
    private let client: HTTPClient
    private let isSecure: Bool

    struct LoggedRequest: Decodable {
        let method: String
        let target: String
        let headers: [String: String]
    }

    /// - Parameters:
    ///   - certificate: PEM files of a certificate and its key, for TLS.
    ///   - authorities: the PEM file by which the test itself trusts that certificate.
    init(
        before server: any S3Server, certificate: (file: String, key: String)? = nil, authorities: String? = nil
    ) async throws {
        directory = try TemporaryDirectory("proxy")
        let port = try freePort()
        self.port = port
        isSecure = certificate != nil
        let script = "\(PackageRoot.path)/Tests/S3Tests/Scripts/faulty_proxy.py"
        let extra = certificate.map { [$0.file, $0.key] } ?? []
        process = try await TestProcess.start(
            PackageRoot.virtualEnvironmentProgram("python3"), [script, "\(port)", "\(server.endpoint.port)"] + extra,
            directory: directory)
        let client = try HTTPClient(certificateAuthorities: authorities)
        self.client = client
        let url = "\(certificate == nil ? "http" : "https")://127.0.0.1:\(port)/-/log"
        try await process.waitUntilReady { (try? await client.send(HTTPRequest(.get, url)))?.status == 200 }
    }

    deinit { process.kill() }

    var url: String { "\(isSecure ? "https" : "http")://127.0.0.1:\(port)" }

    /// These faults from now on, and no others; the log begins anew.
    func set(_ faults: [Fault]) async throws {
        let body = try JSONEncoder().encode(faults)
        let response = try await client.send(HTTPRequest(.put, "\(url)/-/faults", body: ArraySlice(body)))
        guard response.status == 200 else { throw TestSetupError("the proxy answers \(response.status)") }
    }

    func log() async throws -> [LoggedRequest] {
        let response = try await client.send(HTTPRequest(.get, "\(url)/-/log"))
        return try JSONDecoder().decode([LoggedRequest].self, from: Data(response.body))
    }
}
