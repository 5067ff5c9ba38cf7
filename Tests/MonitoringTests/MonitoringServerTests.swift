import Errors
import Foundation
import Logging
import Synchronization
import TestSupport
import Testing

@testable import Monitoring

/// A server with clients that are well-behaved, slow, many, or none of it.
@Suite(.serialized) struct MonitoringServerTests {
    /// Runs a server while `body` does.
    private func serving(
        _ paths: [String: MonitoringServer.Path] = ["/a": { MonitoringAnswer(status: 200, text: "answer") }],
        _ change: (inout MonitoringServer.Limits) -> Void = { _ in },
        body: (UInt16) async throws -> Void
    ) async throws {
        var limits = MonitoringServer.Limits()
        change(&limits)
        let server = try await MonitoringServer.listen(
            host: "127.0.0.1", port: 0, paths: paths, limits: limits, logger: Logger(label: "test"))
        let running = Task { await server.run() }
        do { try await body(server.port) } catch {
            running.cancel()
            await running.value
            throw error
        }
        running.cancel()
        await running.value
    }

    private func ask(_ port: UInt16, _ line: String = "GET /a HTTP/1.1") async throws -> String? {
        let client = try Client(port: port)
        client.send("\(line)\r\nHost: here\r\n\r\n")
        return await client.receive()
    }

    @Test func whatIsAskedIsAnswered() async throws {
        try await serving { port in
            let get = try #require(try await ask(port))
            #expect(get.hasPrefix("HTTP/1.1 200 OK\r\n") && get.hasSuffix("\r\n\r\nanswer\n"))
            #expect(get.contains("\r\nContent-Length: 7\r\n") && get.contains("\r\nConnection: close\r\n"))
            let head = try await ask(port, "HEAD /a?x HTTP/1.0")
            #expect(head == get.replacingOccurrences(of: "answer\n", with: ""))
            let missing = try #require(try await ask(port, "GET /b HTTP/1.1"))
            #expect(missing.hasPrefix("HTTP/1.1 404 ") && missing.contains("/a"))
            let post = try #require(try await ask(port, "POST /a HTTP/1.1"))
            #expect(post.hasPrefix("HTTP/1.1 405 ") && post.contains("\r\nAllow: GET, HEAD\r\n"))
            #expect(try await ask(port, "nonsense")?.hasPrefix("HTTP/1.1 400 ") == true)
        }
    }

    @Test func aRequestWithoutEndIsRefused() async throws {
        try await serving { port in
            let client = try Client(port: port)
            client.send("GET /a")
            for _ in 0..<20 where client.send(String(repeating: "a", count: 1000)) {}
            #expect(await client.receive()?.hasPrefix("HTTP/1.1 431 ") == true)
        }
    }

    @Test func aRequestMayComeInPieces() async throws {
        try await serving { port in
            let client = try Client(port: port)
            for piece in ["GE", "T /a HT", "TP/1.1\r", "\n\r", "\n"] {
                client.send(piece)
                try await Task.sleep(for: .milliseconds(20))
            }
            #expect(await client.receive()?.hasSuffix("answer\n") == true)
        }
    }

    @Test func whoSaysNothingIsCutOff() async throws {
        try await serving {
            $0.connectionTime = .milliseconds(300)
        } body: { port in
            let silent = try Client(port: port)
            #expect(await silent.receive() == "")
        }
    }

    @Test func whoSaysNothingKeepsNobodyOut() async throws {
        try await serving {
            $0.connections = 4
            $0.connectionTime = .seconds(3600)
        } body: { port in
            let silent = try (0..<100).map { _ in try Client(port: port) }
            #expect(try await ask(port)?.hasSuffix("answer\n") == true)
            // The oldest went, and not the newest.
            #expect(await silent[0].receive() == "")
            silent[99].send("GET /a HTTP/1.1\r\n\r\n")
            #expect(await silent[99].receive()?.hasSuffix("answer\n") == true)
        }
    }

    @Test func anAnswerThatDoesNotComeIsNotWaitedFor() async throws {
        let end = Mutex<CheckedContinuation<Void, Never>?>(nil)
        try await serving(
            [
                "/slow": {
                    await withCheckedContinuation { continuation in end.withLock { $0 = continuation } }
                    return MonitoringAnswer(status: 200, text: "late")
                }
            ]
        ) {
            $0.answerTime = .seconds(1)
        } body: { port in
            let answer = try #require(try await ask(port, "GET /slow HTTP/1.1"))
            #expect(answer.hasPrefix("HTTP/1.1 503 ") && answer.hasSuffix("no answer within 1 s\n"))
            end.withLock { $0 }?.resume()
        }
    }

    @Test func theEndWaitsForNoClient() async throws {
        let silent = Mutex<Client?>(nil)
        try await serving {
            $0.connectionTime = .seconds(3600)
        } body: { port in
            let client = try Client(port: port)
            silent.withLock { $0 = client }
            #expect(try await ask(port)?.hasSuffix("answer\n") == true)
        }
        #expect(await silent.withLock { $0 }?.receive() == "")
    }

    @Test func anAddressThatCannotBeHadIsRefused() async throws {
        func refusal(_ host: String, _ port: UInt16) async -> PerSSDError? {
            do {
                _ = try await MonitoringServer.listen(
                    host: host, port: port, paths: [:], logger: Logger(label: "test"))
                return nil
            } catch { return error as? PerSSDError }
        }
        try await serving { port in
            let taken = try #require(await refusal("127.0.0.1", port))
            #expect(taken.code == .failedPrecondition && taken.message.hasSuffix(":\(port): Address already in use"))
            #expect(taken.remedy?.contains("--metrics-listen") == true)
        }
        // Set aside for documentation (RFC 5737, 3849).
        #expect(await refusal("192.0.2.1", 0)?.code == .invalidArgument)
        let foreign = try #require(await refusal("2001:db8::1", 0))
        #expect(foreign.code == .invalidArgument && foreign.message.contains("[2001:db8::1]:0"))
        #expect(await refusal("no-such-host.invalid", 0)?.code == .invalidArgument)
    }

    @Test func anIPv6AddressIsAsGood() async throws {
        let server = try await MonitoringServer.listen(
            host: "::1", port: 0, paths: [:], logger: Logger(label: "test"))
        #expect(server.port != 0)
    }
}
