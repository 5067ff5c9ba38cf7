import Blocking
import Foundation
import RPC
import Testing

@Suite struct RobustnessTests {
    private static let garbage: [[UInt8]] = [
        Array("GET / HTTP/1.1\r\nHost: x\r\n\r\n".utf8),
        [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xFC, 0x03, 0x03],
        [UInt8](repeating: 0, count: 100_000),
        (0..<10_000).map { UInt8(truncatingIfNeeded: $0 &* $0 &* 167 &+ 13) },
        // The right beginning of HTTP/2, then a frame of 16 MiB of an unknown kind, headers that are none, and noise.
        Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + [0xFF, 0xFF, 0xFF, 0xEE, 0, 0, 0, 0, 1],
        Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + [0, 0, 0, 4, 0, 0, 0, 0, 0]
            + [0, 0, 8, 1, 4, 0, 0, 0, 1] + [UInt8](repeating: 0xFF, count: 8),
        Array("PRI * HTTP/2.0\r\n\r\nSM".utf8),
    ]

    @Test func garbageOnTheSocketHarmsNobody() async throws {
        try await withServer { fixture async throws in
            let hanging = Task { try await fixture.client.failure("Hang") }
            #expect(await fixture.journal.has("hang began"))
            let path = fixture.directory + "/s.sock"
            for _ in 0..<10 {
                for bytes in Self.garbage {
                    let socket = try RawSocket.unix()
                    try socket.connect(path)
                    socket.send(bytes)
                    socket.close()
                }
            }
            #expect(try await fixture.client.call("Echo", "x") == "x")
            #expect(fixture.journal.count(of: "hang cancelled") == 0)
            hanging.cancel()
            _ = try await hanging.value
        }
    }

    @Test func aConnectionThatNeverSpeaksIsClosed() async throws {
        var options = RPCServer.Options()
        options.handshakeTimeout = .seconds(1)
        try await withServer(options: options) { fixture async throws in
            let socket = try RawSocket.unix()
            try socket.connect(fixture.directory + "/s.sock")
            #expect(try await BlockingPool.shared.run { socket.isClosedByPeer(within: 20) })
            socket.close()
            #expect(try await fixture.client.call("Echo", "x") == "x")
        }
    }

    @Test func halfOpenConnectionsDoNotHoldUpTheStop() async throws {
        var options = RPCServer.Options()
        options.handshakeTimeout = .seconds(600)
        try await withServer(options: options) { fixture async throws in
            let sockets = try (0..<20).map { _ in
                let socket = try RawSocket.unix()
                try socket.connect(fixture.directory + "/s.sock")
                socket.send(Array("PRI * HTTP/2.0\r\n".utf8))
                return socket
            }
            let start = ContinuousClock.now
            #expect(await fixture.server.shutdown(gracePeriod: .seconds(3)) == 0)
            #expect(ContinuousClock.now - start < .seconds(120))
            for socket in sockets { socket.close() }
        }
    }

    /// Handlers wait until all of them run, so the calls really are concurrent.
    @Test(.timeLimit(.minutes(3)), arguments: Transport.allCases)
    func aThousandCallsAtATime(transport: Transport) async throws {
        let count = 1000
        let (unary, streaming) = (Barrier(count), Barrier(count))
        let methods = [
            RPCMethod(
                "/test.Service/MeetUnary",
                .unary { request, _ in
                    await unary.pass()
                    return request
                }),
            RPCMethod(
                "/test.Service/MeetStreaming",
                .serverStreaming { request, _, responses in
                    try await responses.send(request)
                    await streaming.pass()
                    try await responses.send(request)
                }),
        ]
        try await withTemporaryDirectory { directory async throws in
            let server = RPCServer(methods)
            let wanted: RPCAddress =
                transport == .unix ? .unix(path: directory + "/s") : .tcp(host: "127.0.0.1", port: 0)
            let client = try RPCClient(try await server.listen(on: wanted))
            try await withThrowingTaskGroup(of: Bool.self) { group in
                for number in 0..<count {
                    group.addTask { try await client.call("MeetUnary", "\(number)") == "\(number)" }
                    group.addTask {
                        try await client.collect("MeetStreaming", "\(number)") == ["\(number)", "\(number)"]
                    }
                }
                for try await isRight in group { #expect(isRight) }
            }
            await client.close()
            #expect(await server.shutdown(gracePeriod: .seconds(5)) == 0)
        }
    }

    @Test func aThousandCallsCancelledAtATime() async throws {
        try await withServer { fixture async throws in
            let calls = (0..<1000).map { _ in Task { try await fixture.client.failure("Hang")?.code } }
            #expect(await fixture.journal.has("hang began", times: 1000))
            for call in calls { call.cancel() }
            for call in calls { #expect(try await call.value == .cancelled) }
            #expect(await fixture.journal.has("hang cancelled", times: 1000))
        }
    }

    /// Cancellation at every moment of a call's life, from before its start to after its end.
    @Test func cancellationAtAnyMoment() async throws {
        try await withServer { fixture async throws in
            for delay in 0..<300 {
                let unary = Task { try? await fixture.client.call("Echo", "x") }
                let stream = Task { try? await fixture.client.collect("Count", "5") }
                try await Task.sleep(for: .microseconds(delay * 10))
                unary.cancel()
                stream.cancel()
                _ = await (unary.value, stream.value)
            }
            #expect(try await fixture.client.call("Echo", "x") == "x")
        }
    }

    @Test func thousandsOfCallsLeaveNothingBehind() async throws {
        /// Kept by the server's methods, which every call keeps.
        final class Witness: Sendable {
            let journal: Journal
            init(_ journal: Journal) { self.journal = journal }
            deinit { journal.note("freed") }
        }
        let journal = Journal()
        try await withTemporaryDirectory { directory async throws in
            let witness = Witness(journal)
            let methods = [
                RPCMethod(
                    "/test.Service/Echo",
                    .unary { [witness] request, _ in
                        _ = witness; return request
                    }),
                RPCMethod(
                    "/test.Service/Count",
                    .serverStreaming { [witness] request, _, responses in
                        _ = witness
                        try await responses.send(request)
                    }),
            ]
            let server = RPCServer(methods)
            let client = try RPCClient(try await server.listen(on: .unix(path: directory + "/s")))
            for number in 0..<3000 {
                _ = try await client.call("Echo", "\(number)")
                if number % 10 == 0 { _ = try await client.collect("Count", "x") }
            }
            await client.close()
            await server.shutdown(gracePeriod: .seconds(1))
        }
        #expect(await journal.has("freed"), "a call keeps the server's methods after its end")
    }

    @Test func callsOfManyClientsWhileTheServerStops() async throws {
        for _ in 0..<5 {
            try await withServer { fixture async throws in
                let clients = try (0..<4).map { _ in try RPCClient(fixture.address) }
                let callers = clients.map { client in
                    Task {
                        // Until the server is gone.
                        while (try? await client.call("Echo", "x", .init(timeout: .seconds(60)))) == "x" {
                            _ = try? await client.collect("Count", "3")
                        }
                    }
                }
                try await Task.sleep(for: .milliseconds(50))
                #expect(await fixture.server.shutdown(gracePeriod: .milliseconds(20)) == 0)
                for caller in callers { await caller.value }
                for client in clients { await client.close() }
            }
        }
    }
}
