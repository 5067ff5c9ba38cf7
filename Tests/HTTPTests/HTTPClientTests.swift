import Errors
import Foundation
import HTTP
import TestSupport
import Testing

@Suite struct HTTPClientTests {
    private let server: OddServer
    private let client: HTTPClient

    init() async throws {
        server = try await OddServer.shared.get()
        client = try HTTPClient(maximumTransfers: 8)
    }

    private func get(_ path: String, maximum: Int = 1 << 20) async throws -> HTTPResponse {
        try await client.send(HTTPRequest(.get, server.url + path, maximumResponseBytes: maximum))
    }

    private func expectError(
        _ code: PerSSDError.Code, sourceLocation: SourceLocation = #_sourceLocation, _ body: () async throws -> Void
    ) async {
        do {
            try await body()
            Issue.record("no error, where \(code) was expected", sourceLocation: sourceLocation)
        } catch {
            #expect((error as? PerSSDError)?.code == code, "\(error)", sourceLocation: sourceLocation)
        }
    }

    private func pattern(_ count: Int) -> [UInt8] { (0..<count).map { UInt8($0 % 251) } }

    @Test func bodiesOfEverySizeComeAndGo() async throws {
        for count in [0, 1, 65536, 300_001, 3_000_000] {
            #expect(try await get("/bytes/\(count)", maximum: count).body == pattern(count))
            #expect(try await get("/chunked/\(count)", maximum: count).body == pattern(count))
            for method in [HTTPRequest.Method.put, .post, .patch] {
                // A slice that does not begin at 0.
                let body = ([9, 9] + pattern(count))[2...]
                let response = try await client.send(
                    HTTPRequest(method, server.url + "/echo", body: body, maximumResponseBytes: count))
                #expect(response.body == Array(body))
                #expect(response.headers["x-length"] == "\(count)" && response.headers["X-METHOD"] == method.rawValue)
                #expect(response.waited >= .zero && response.waited < .seconds(10))
            }
        }
        let head = try await client.send(HTTPRequest(.head, server.url + "/", maximumResponseBytes: 0))
        #expect(head.status == 200 && head.body.isEmpty && head.headers["Content-Length"] == "12345")
    }

    @Test func headersOfTheFinalAnswerAloneAreKept() async throws {
        let response = try await get("/interim")
        #expect(response.headers["X-Interim"] == nil && response.headers["x-final"] == "2")
        #expect(response.headers["X-Twice"] == "padded")
        #expect(try await get("/chunked/10").headers["X-Trailer"] == nil)
    }

    @Test func headersAreSentAsGivenAndNoneCanBeSmuggledIn() async throws {
        let headers: HTTPHeaders = ["X-One": "a, b", "X-Empty": "", "Host": "elsewhere:1"]
        let response = try await client.send(HTTPRequest(.get, server.url + "/headers", headers: headers))
        let lines = Set(String(decoding: response.body, as: UTF8.self).split(separator: "\n").map(String.init))
        #expect(lines.isSuperset(of: ["X-One: a, b", "X-Empty: ", "Host: elsewhere:1"]), "\(lines)")
        for (name, value) in [("X", "a\r\nY: b"), ("X", "a\nb"), ("X: Y", "a"), ("", "a"), ("X", "a\0"), ("é", "a")] {
            await expectError(.invalidArgument) {
                _ = try await client.send(HTTPRequest(.get, server.url + "/headers", headers: [name: value]))
            }
        }
    }

    @Test func anAnswerThatIsTooLongEndsTheTransfer() async throws {
        await expectError(.outOfRange) { _ = try await get("/bytes/1001", maximum: 1000) }
        await expectError(.outOfRange) { _ = try await get("/chunked/100000", maximum: 99_999) }
        await expectError(.outOfRange) { _ = try await get("/endless", maximum: 10 << 20) }
        #expect(try await get("/bytes/1000", maximum: 1000).body.count == 1000)
    }

    @Test func redirectsAreNotFollowed() async throws {
        let response = try await get("/redirect")
        #expect(response.status == 302 && response.headers["Location"] == "/bytes/1" && response.body.isEmpty)
    }

    @Test func connectionsAreUsedAgainUnlessANewOneIsAskedFor() async throws {
        var numbers: Set<[UInt8]> = []
        for _ in 0..<10 { numbers.insert(try await get("/connection").body) }
        #expect(numbers.count == 1)
        var request = HTTPRequest(.get, server.url + "/connection")
        request.needsNewConnection = true
        #expect(try await !numbers.contains(client.send(request).body))
    }

    @Test func parallelTransfersAreBounded() async throws {
        let client = client
        let start = ContinuousClock.now
        try await withThrowingTaskGroup { group in
            for _ in 0..<24 {
                let url = server.url + "/stall/0.3"
                group.addTask {
                    let response = try await client.send(HTTPRequest(.get, url))
                    #expect(response.body == Array("late".utf8))
                }
            }
            try await group.waitForAll()
        }
        // Three rounds of eight; one round would be 0.3 s, and one after the other 7.2 s.
        let elapsed = ContinuousClock.now - start
        #expect(elapsed >= .seconds(0.9) && elapsed < .seconds(7), "\(elapsed)")
    }

    @Test func cancellationEndsARunningAndAWaitingTransfer() async throws {
        let client = try HTTPClient(maximumTransfers: 1)
        let url = server.url + "/stall/20"
        let running = Task { try await client.send(HTTPRequest(.get, url)) }
        try await Task.sleep(for: .milliseconds(200))
        let waiting = Task { try await client.send(HTTPRequest(.get, url)) }
        let early = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return try await client.send(HTTPRequest(.get, url))
        }
        try await Task.sleep(for: .milliseconds(200))
        let start = ContinuousClock.now
        for task in [early, waiting, running] {
            task.cancel()
            await expectError(.cancelled) { _ = try await task.value }
        }
        #expect(ContinuousClock.now - start < .seconds(15))
        // The place is free again.
        #expect(try await client.send(HTTPRequest(.get, server.url + "/bytes/1")).body == [0])
    }

    @Test func timeoutsAndBrokenServersAreUnavailable() async throws {
        var request = HTTPRequest(.get, server.url + "/stall/20")
        request.timeouts.total = .milliseconds(300)
        let total = request
        await expectError(.unavailable) { _ = try await client.send(total) }
        request.timeouts = HTTPTimeouts(stall: .seconds(1))
        let stall = request
        let start = ContinuousClock.now
        await expectError(.unavailable) { _ = try await client.send(stall) }
        #expect(ContinuousClock.now - start < .seconds(18))
        await expectError(.unavailable) { _ = try await get("/garbage") }
        await expectError(.unavailable) {
            _ = try await client.send(HTTPRequest(.get, "http://127.0.0.1:\(try freePort())/"))
        }
        // The client works on after each of them.
        #expect(try await get("/bytes/3").body == [0, 1, 2])
    }

    @Test func addressesThatCannotBeAreRefused() async throws {
        for url in ["", "http://", "file:///etc/passwd", "ftp://127.0.0.1/", "http://a b/"] {
            await expectError(.invalidArgument) { _ = try await client.send(HTTPRequest(.get, url)) }
        }
        #expect(throws: PerSSDError.self) { try HTTPClient(certificateAuthorities: "/nowhere") }
    }

    /// libcurl sends a request without a body again by itself when an idle connection turns out to be dead; with a body
    /// it may not, as the first one may have been acted upon.
    @Test func aRequestWithABodyIsNeverSentTwice() async throws {
        let client = try HTTPClient(maximumTransfers: 1)
        func send(_ method: HTTPRequest.Method, _ path: String, _ body: ArraySlice<UInt8>? = nil) async throws -> String
        {
            let response = try await client.send(HTTPRequest(method, server.url + path, body: body))
            return String(decoding: response.body, as: UTF8.self)
        }
        _ = try await send(.get, "/bytes/1")
        #expect(try await send(.get, "/close") == "anew")
        #expect(try await send(.get, "/closes") == "2")
        await expectError(.unavailable) { _ = try await send(.put, "/close", [1]) }
        #expect(try await send(.get, "/closes") == "3")
    }

    @Test func theThreadEndsWithTheClient() async throws {
        func threads() throws -> Int {
            let tasks = try FileManager.default.contentsOfDirectory(atPath: "/proc/self/task")
            return tasks.filter {
                (try? String(contentsOfFile: "/proc/self/task/\($0)/comm", encoding: .utf8)) == "gone\n"
            }
            .count
        }
        do {
            let mortal = try HTTPClient(label: "gone")
            _ = try await mortal.send(HTTPRequest(.get, server.url + "/bytes/1"))
            // The thread names itself, in its own time.
            for _ in 0..<1200 where try threads() == 0 { try await Task.sleep(for: .milliseconds(50)) }
            #expect(try threads() == 1)
            withExtendedLifetime(mortal) {}
        }
        var left = 1
        for _ in 0..<1200 where left > 0 {
            try await Task.sleep(for: .milliseconds(50))
            left = try threads()
        }
        #expect(left == 0)
    }
}

/// See Scripts/odd_server.py. One for all tests.
final class OddServer: Sendable {
    static let shared = Task { try await OddServer() }

    let url: String
    private let process: TestProcess
    private let directory: TemporaryDirectory

    private init() async throws {
        directory = try TemporaryDirectory("odd")
        let port = try freePort()
        url = "http://127.0.0.1:\(port)"
        process = try await TestProcess.start(
            PackageRoot.virtualEnvironmentProgram("python3"),
            ["\(PackageRoot.path)/Tests/HTTPTests/Scripts/odd_server.py", "\(port)"], directory: directory)
        try await process.waitUntilReady { await httpStatus(port: port, path: "/bytes/1") == 200 }
    }
}

extension Task where Failure == any Error {
    func get() async throws -> Success { try await value }
}
