import RPC
import Testing

/// With Python's gRPC: another release, another language, and none of our code on the other side.
@Suite struct GrpcioTests {
    @Suite struct ClientOfOurServer {
        @Test(arguments: Transport.allCases)
        func unaryCalls(transport: Transport) async throws {
            try await withServer(transport) { fixture async throws in
                #expect(try await Python.call(fixture.address, "echo", "3000000")?.equal == true)
                #expect(try await Python.call(fixture.address, "echo", "0")?.equal == true)
                let failure = try await Python.call(fixture.address, "fail", "Fail")
                #expect(failure?.code == "FAILED_PRECONDITION")
                #expect(failure?.message == TestService.awkwardMessage)
                #expect(failure?.details == "0805120300ff80")
                let secret = try await Python.call(fixture.address, "fail", "Leak")
                #expect(secret?.code == "UNKNOWN")
                #expect(secret?.message == "Secret")
                #expect(try await Python.call(fixture.address, "fail", "Missing")?.code == "UNIMPLEMENTED")
                let lines = try await Python.call(fixture.address, "metadata")?.lines ?? []
                #expect(lines.contains("trace-id=97,32,98") && lines.contains("blob-bin=0,255,10"), "\(lines)")
            }
        }

        @Test(arguments: Transport.allCases)
        func deadlinesAndCancellation(transport: Transport) async throws {
            try await withServer(transport) { fixture async throws in
                #expect(try await Python.call(fixture.address, "deadline", "2")?.code == "DEADLINE_EXCEEDED")
                #expect(await fixture.journal.has("hang cancelled", times: 1))
                #expect(try await Python.call(fixture.address, "cancel")?.code == "CANCELLED")
                #expect(await fixture.journal.has("flood ended"))
            }
        }

        @Test(arguments: Transport.allCases)
        func streams(transport: Transport) async throws {
            try await withServer(transport) { fixture async throws in
                let numbers = (0..<300).map(String.init)
                #expect(try await Python.call(fixture.address, "stream", "300")?.messages == numbers)
                #expect(try await Python.call(fixture.address, "chat", "300")?.messages == numbers)
                let broken = try await Python.call(fixture.address, "broken_stream")
                #expect(broken?.messages == ["01", "02"])
                #expect(broken?.code == "ABORTED")
                #expect(broken?.details == "0805120300ff80")
            }
        }

        @Test func messagesOverTheLimitAreRefused() async throws {
            try await withServer { fixture async throws in
                let tooLarge = try await Python.call(fixture.address, "oversize", "\((4 << 20) + 1)")
                #expect(tooLarge?.code == "RESOURCE_EXHAUSTED", "\(String(describing: tooLarge))")
                // 200 MB of zeros are a small message on the wire.
                let bomb = try await Python.call(fixture.address, "compressed", "200000000")
                #expect(
                    bomb?.code == "RESOURCE_EXHAUSTED" || bomb?.code == "UNIMPLEMENTED", "\(String(describing: bomb))")
                #expect(try await Python.call(fixture.address, "compressed", "1000")?.code == "OK")
            }
        }

        @Test func aCallWithoutARequestIsAnError() async throws {
            try await withServer { fixture async throws in
                #expect(try await Python.call(fixture.address, "no_request")?.code == "INTERNAL")
            }
        }

        @Test(arguments: Transport.allCases)
        func aClientThatIsKilledInMidCallCancelsItsHandlers(transport: Transport) async throws {
            try await withServer(transport) { fixture async throws in
                #expect(try await Python.call(fixture.address, "vanish") == nil)
                #expect(await fixture.journal.has("hang cancelled"), "\(Set(fixture.journal.events))")
                #expect(await fixture.journal.has("flood ended"))
                #expect(try await fixture.client.call("Echo", "x") == "x")
            }
        }

        @Test func manyCallsAtATime() async throws {
            try await withServer { fixture async throws in
                #expect(try await Python.call(fixture.address, "concurrent", "300")?.messages == [])
            }
        }
    }

    @Suite struct ServerOfOurClient {
        @Test(arguments: Transport.allCases)
        func everything(transport: Transport) async throws {
            try await PythonServer.with(transport) { server, client async throws in
                #expect(try await client.call("Echo", "hello") == "hello")
                #expect(
                    try await client.failure("Fail")
                        == RPCStatus(.failedPrecondition, TestService.awkwardMessage, details: TestService.details))
                #expect(try await client.failure("Missing")?.code == .unimplemented)
                let metadata: RPCMetadata = [("trace-id", Array("a b".utf8)), ("blob-bin", [0, 255, 10])]
                let lines = try await client.call("Metadata", "", .init(metadata: metadata)).split(separator: "\n")
                #expect(lines.contains("trace-id=97,32,98") && lines.contains("blob-bin=0,255,10"), "\(lines)")
                #expect(try await client.call("Remaining") == "none")
                let remaining = try await client.call("Remaining", "", .init(timeout: .seconds(1000)))
                #expect((980...1010).contains(Int(remaining) ?? 0), "\(remaining)")
                #expect(try await client.failure("Zeros", "\((4 << 20) + 1)")?.code == .resourceExhausted)

                #expect(
                    try await client.failure("Hang", "", .init(timeout: .seconds(1)))?.code == .deadlineExceeded)
                #expect(await server.notes.has("hang cancelled", times: 1))
                let hanging = Task { try await client.failure("Hang") }
                #expect(await server.notes.has("hang began", times: 2))
                hanging.cancel()
                #expect(try await hanging.value?.code == .cancelled)
                #expect(await server.notes.has("hang cancelled", times: 2))

                #expect(try await client.collect("Count", "300") == (0..<300).map(String.init))
                let error = await #expect(throws: RPCStatus.self) { try await client.collect("CountThenFail") }
                #expect(error == RPCStatus(.aborted, "half-way", details: TestService.details))
                let chat = try client.bidirectional("/test.Service/Chat")
                var replies = chat.responses.makeAsyncIterator()
                for number in 0..<100 as Range<UInt8> {
                    try await chat.send([number])
                    #expect(try await replies.next() == [number])
                }
                try await chat.finishSending()
                #expect(try await replies.next() == nil)
            }
        }
    }
}
