import Errors
import Foundation
import Glibc
import Logging
import Synchronization
import TestSupport
import Testing

@testable import Monitoring

/// A server with clients that are well-behaved, slow, many, or none of it.
@Suite(.serialized) struct MonitoringServerTests {
    /// Runs a server while `body` does.
    private func serving(
        _ paths: [String: MonitoringServer.Path] = ["/a": { MonitoringAnswer(isWell: true, text: "answer") }],
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
        client.send("\(line)\r\nHost: here\r\nConnection: close\r\n\r\n")
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
            #expect(try await ask(port, "nonsense") == "")
        }
    }

    @Test func aRequestWithoutEndIsCutOff() async throws {
        try await serving {
            $0.connectionTime = .seconds(3600)
        } body: { port in
            let client = try Client(port: port)
            // Whoever never lets the server wait is not seen.
            try await Task.sleep(for: .milliseconds(200))
            client.send("GET /a")
            var sent = 0
            while client.send(String(repeating: "a", count: 1000)), sent < 100_000 {
                sent += 1
                try await Task.sleep(for: .milliseconds(1))
            }
            #expect(sent >= 16 && sent < 10_000)
            #expect(await client.receive() == "")
        }
    }

    @Test func aRequestMayComeInPieces() async throws {
        try await serving { port in
            let client = try Client(port: port)
            for piece in ["GE", "T /a HT", "TP/1.1\r", "\nConnection: close\r\n\r", "\n"] {
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

    @Test func whoSaysLittleAtATimeIsCutOff() async throws {
        try await serving {
            $0.connectionTime = .milliseconds(500)
        } body: { port in
            let slow = try Client(port: port)
            let start = ContinuousClock.now
            slow.send("GET /a HTTP/1.1\r\nX: ")
            while slow.send("x"), .now - start < .seconds(60) { try await Task.sleep(for: .milliseconds(50)) }
            #expect(.now - start >= .milliseconds(500) && .now - start < .seconds(30))
        }
    }

    @Test func whoTakesNoAnswerIsCutOff() async throws {
        let much = String(repeating: "m", count: 32 << 20)
        try await serving(["/a": { MonitoringAnswer(isWell: true, text: much) }]) {
            $0.connectionTime = .milliseconds(500)
        } body: { port in
            let client = try Client(port: port)
            client.send("GET /a HTTP/1.1\r\nConnection: close\r\n\r\n")
            try await Task.sleep(for: .seconds(6))
            let answer = try #require(await client.receive())
            #expect(answer.hasPrefix("HTTP/1.1 200 ") && answer.utf8.count < much.utf8.count)
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
            silent[99].send("GET /a HTTP/1.1\r\nConnection: close\r\n\r\n")
            #expect(await silent[99].receive()?.hasSuffix("answer\n") == true)
        }
    }

    @Test func anAnswerThatDoesNotComeIsNotWaitedFor() async throws {
        let end = Mutex<CheckedContinuation<Void, Never>?>(nil)
        try await serving(
            [
                "/slow": {
                    await withCheckedContinuation { continuation in end.withLock { $0 = continuation } }
                    return MonitoringAnswer(isWell: true, text: "late")
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

    /// The descriptors of this process whose socket has the port: the server's, and not those of its clients.
    private func descriptors(_ port: UInt16) -> [Int32] {
        (0..<1024).filter { descriptor in
            var address = sockaddr_in()
            var size = socklen_t(MemoryLayout<sockaddr_in>.size)
            let result = withUnsafeMutableBytes(of: &address) {
                getsockname(descriptor, $0.baseAddress!.assumingMemoryBound(to: sockaddr.self), &size)
            }
            return result == 0 && address.sin_family == AF_INET && address.sin_port == port.bigEndian
        }
    }

    @Test func noDescriptorIsLeftOrHandedOn() async throws {
        try await serving { port in
            // Their numbers are given again and again, and each connection is a new one.
            for _ in 0..<200 { #expect(try await ask(port)?.hasSuffix("answer\n") == true) }
            let silent = try Client(port: port)
            // Those of answers that have gone are closed a little later.
            var open = descriptors(port)
            for _ in 0..<600 where open.count != 2 {
                try await Task.sleep(for: .milliseconds(100))
                open = descriptors(port)
            }
            #expect(open.count == 2)
            for descriptor in open { #expect(fcntl(descriptor, F_GETFD) & FD_CLOEXEC != 0) }
            silent.send("GET /a HTTP/1.1\r\nConnection: close\r\n\r\n")
            #expect(await silent.receive()?.hasSuffix("answer\n") == true)
        }
    }

    @Test func aServerThatFailsBeginsAnew() async throws {
        try await serving { port in
            #expect(try await ask(port)?.hasSuffix("answer\n") == true)
            for descriptor in descriptors(port) { shutdown(descriptor, Int32(SHUT_RDWR)) }
            let start = ContinuousClock.now
            var answer: String?
            while answer == nil, .now - start < .seconds(60) {
                try await Task.sleep(for: .milliseconds(100))
                answer = try? await ask(port)
            }
            #expect(answer?.hasSuffix("answer\n") == true)
        }
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
        let taken = await #expect(throws: PerSSDError.self) {
            try await MonitoringServer.listen(
                host: "::1", port: server.port, paths: [:], logger: Logger(label: "test"))
        }
        #expect(taken?.message == "cannot serve metrics at [::1]:\(server.port): Address already in use")
    }
}
