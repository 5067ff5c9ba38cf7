import Foundation
import HTTP
import TestSupport

/// A process of Tests/APIServer/api_server.py with an authority and a token of its own.
final class FakeAPIServer: Sendable {
    let certificates: TestCertificates
    let url: String
    let tokenFile: String
    private let directory: TemporaryDirectory
    private let port: Int
    private let process: TestProcess
    private let control: HTTPClient

    init() async throws {
        directory = try TemporaryDirectory("api")
        certificates = try await TestCertificates(for: "IP:127.0.0.1")
        port = try freePort()
        url = "https://127.0.0.1:\(port)"
        tokenFile = directory + "token"
        try Data("first-token\n".utf8).write(to: URL(fileURLWithPath: tokenFile))
        process = try await Self.start(port, certificates, tokenFile, directory)
        control = try HTTPClient(certificateAuthorities: certificates.authority, label: "control")
        try await process.waitUntilReady { [control, url] in
            (try? await control.send(HTTPRequest(.get, url + "/control")))?.status == 200
        }
    }

    private static func start(
        _ port: Int, _ certificates: TestCertificates, _ tokenFile: String, _ directory: TemporaryDirectory
    ) async throws -> TestProcess {
        try await TestProcess.start(
            PackageRoot.virtualEnvironmentProgram("python3"),
            [
                "\(PackageRoot.path)/Tests/APIServer/api_server.py", "\(port)", certificates.certificate,
                certificates.key, tokenFile,
            ], directory: directory)
    }

    /// SIGSTOP: it takes connections, and answers nothing.
    func hold() { process.send(signal: SIGSTOP) }
    func goOn() { process.send(signal: SIGCONT) }
    func kill() { process.kill() }

    struct State: Decodable, Sendable {
        var events: [Event]
        var requests: [Request]
        var refused: [Refusal]
    }

    struct Event: Decodable, Sendable {
        var reason: String
        var message: String
        var type: String
        var action: String
        var count: Int
        var firstTimestamp: String
        var lastTimestamp: String
        var reportingComponent: String
        var reportingInstance: String
        var source: Source
        var involvedObject: Object
        var metadata: Metadata
        struct Source: Decodable, Sendable { var component: String, host: String }
        struct Object: Decodable, Sendable {
            var apiVersion: String, kind: String, namespace: String, name: String, uid: String
        }
        struct Metadata: Decodable, Sendable { var name: String, namespace: String }
    }

    struct Request: Decodable, Sendable {
        var method: String
        var path: String
        var token: String
        var at: Double
    }

    struct Refusal: Decodable, Sendable { var rule: String }

    func state() async throws -> State {
        let response = try await control.send(HTTPRequest(.get, url + "/control", maximumResponseBytes: 64 << 20))
        return try JSONDecoder().decode(State.self, from: Data(response.body))
    }

    /// - Parameter json: see api_server.py.
    func set(_ json: String) async throws {
        _ = try await control.send(HTTPRequest(.put, url + "/control", body: Array(json.utf8)[...]))
    }

    func forgetEvents() async throws { _ = try await control.send(HTTPRequest(.delete, url + "/control")) }

    /// What the server is after `condition` holds.
    func wait(
        within limit: Duration = .seconds(60), until condition: (State) -> Bool
    ) async throws -> State {
        let end = ContinuousClock.now + limit
        while true {
            let state = try await state()
            if condition(state) { return state }
            guard ContinuousClock.now < end else {
                throw TestSetupError("the API server has \(state) after \(limit)")
            }
            try await Task.sleep(for: .milliseconds(50))
        }
    }
}
