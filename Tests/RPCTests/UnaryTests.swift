import RPC
import Synchronization
import Testing

@Suite struct UnaryTests {
    @Test(arguments: Transport.allCases)
    func bytesArriveUnchanged(transport: Transport) async throws {
        try await withServer(transport) { fixture async throws in
            for size in [0, 1, 100, 65_537, 3 << 20] {
                let request = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31) }
                let response = try await fixture.client.unary("/test.Service/Echo", request, options: .init())
                #expect(response == request)
            }
        }
    }

    @Test func aStatusArrivesWithItsMessageAndDetails() async throws {
        try await withServer { fixture async throws in
            let status = try await fixture.client.failure("Fail")
            #expect(
                status
                    == RPCStatus(.failedPrecondition, TestService.awkwardMessage, details: TestService.details))
        }
    }

    @Test func aMessageOfFourKibibytesOfUTF8StillArrives() async throws {
        try await withServer { fixture async throws in
            let status = try await fixture.client.failure("FailWith", String(repeating: "日本", count: 700))
            #expect(status?.code == .notFound)
            #expect(status?.message.hasPrefix("日本日本") == true)
            #expect(status?.message.hasSuffix("…") == true)
        }
    }

    @Test func anyOtherErrorIsUnknownAndTellsNothing() async throws {
        try await withServer { fixture async throws in
            #expect(try await fixture.client.failure("Leak") == RPCStatus(.unknown, "Secret"))
            #expect(try await fixture.client.failure("FailWithOK")?.code == .unknown)
        }
    }

    @Test func anUnknownMethodIsUnimplemented() async throws {
        try await withServer { fixture async throws in
            let status = try await fixture.client.failure("Missing")
            #expect(status?.code == .unimplemented)
            #expect(status?.message.contains("/test.Service/Missing") == true)
        }
    }

    @Test func metadataArrives() async throws {
        try await withServer { fixture async throws in
            let metadata: RPCMetadata = [
                ("trace-id", Array("a b".utf8)), ("blob-bin", [0, 255, 10]), ("blob-bin", []),
            ]
            let text = try await fixture.client.call("Metadata", "", .init(metadata: metadata))
            let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
            #expect(lines.contains("trace-id=97,32,98"))
            #expect(lines.contains("blob-bin=0,255,10"))
            #expect(lines.contains("blob-bin="))
        }
    }

    @Test(arguments: [("Upper", "x"), ("", "x"), ("k", "new\nline"), ("k", "é"), ("a b", "x")])
    func metadataThatGRPCDoesNotAllowIsRefused(key: String, value: String) async throws {
        try await withServer { fixture async throws in
            let status = try await fixture.client.failure("Echo", "", .init(metadata: [(key, Array(value.utf8))]))
            #expect(status?.code == .invalidArgument)
        }
    }

    @Test(arguments: ["", "Service/Method", "/a b", "/é", "/a\n"])
    func aPathThatIsNoneIsRefused(path: String) async throws {
        try await withServer { fixture async throws in
            await #expect(throws: RPCStatus.self) { try await fixture.client.unary(path, [], options: .init()) }
            await #expect(throws: RPCStatus.self) {
                for try await _ in fixture.client.serverStreaming(path, [], options: .init()) {}
            }
        }
    }

    @Test func theHandlerKnowsTheDeadline() async throws {
        try await withServer { fixture async throws in
            #expect(try await fixture.client.call("Remaining") == "none")
            let remaining = try await fixture.client.call("Remaining", "", .init(timeout: .seconds(1000)))
            #expect((980...1010).contains(Int(remaining) ?? 0), "\(remaining)")
        }
    }

    @Test func aDeadlineThatPassesFailsTheCallAndCancelsTheHandler() async throws {
        try await withServer { fixture async throws in
            let status = try await fixture.client.failure("Hang", "", .init(timeout: .seconds(1)))
            #expect(status?.code == .deadlineExceeded)
            #expect(await fixture.journal.has("hang cancelled"))
            #expect(try await fixture.client.failure("Echo", "", .init(timeout: .zero))?.code == .deadlineExceeded)
        }
    }

    @Test func aCancelledTaskCancelsTheCallAndTheHandler() async throws {
        try await withServer { fixture async throws in
            let call = Task { try await fixture.client.failure("Hang") }
            #expect(await fixture.journal.has("hang began"))
            call.cancel()
            #expect(try await call.value?.code == .cancelled)
            #expect(await fixture.journal.has("hang cancelled"))
        }
    }

    @Test func aCallBegunInACancelledTaskNeverReachesItsHandler() async throws {
        try await withServer { fixture async throws in
            let call = Task {
                withUnsafeCurrentTask { $0?.cancel() }
                return try await fixture.client.failure("Hang")
            }
            #expect(try await call.value?.code == .cancelled)
            #expect(fixture.journal.events == [])
        }
    }

    @Test func requestsOverTheLimitAreRefused() async throws {
        try await withServer { fixture async throws in
            let limit = 4 << 20
            #expect(
                try await fixture.client.unary(
                    "/test.Service/Echo", .init(repeating: 1, count: limit), options: .init()
                ).count == limit)
            let status = try await fixture.client.failure("Echo", String(repeating: "x", count: limit + 1))
            #expect(status?.code == .resourceExhausted)
            #expect(try await fixture.client.call("Echo", "still alive") == "still alive")
        }
    }

    @Test func responsesOverEitherLimitAreRefused() async throws {
        var options = RPCServer.Options()
        options.maximumSendSize = 5 << 20
        try await withServer(options: options) { fixture async throws in
            let overClient = try await fixture.client.failure("Zeros", "\((4 << 20) + 1)")
            #expect(overClient?.code == .resourceExhausted)
            let overServer = try await fixture.client.failure("Zeros", "\((5 << 20) + 1)")
            #expect(overServer?.code == .resourceExhausted)
            #expect(overServer?.message.contains("5242881") == true)
        }
    }

    @Test func callsOverTheLimitOfHandlersAreToldToTryAgain() async throws {
        var options = RPCServer.Options()
        options.maximumConcurrentCalls = 2
        try await withServer(options: options) { fixture async throws in
            // Two connections, as gRPC makes calls of one wait for each other.
            let second = try RPCClient(fixture.address)
            let hanging = (0..<2).map { _ in Task { try await fixture.client.failure("Hang") } }
            #expect(await fixture.journal.has("hang began", times: 2))
            let status = try await second.failure("Echo")
            #expect(status?.code == .unavailable)
            #expect(status?.message.contains("busy") == true)
            for call in hanging { call.cancel() }
            for call in hanging { _ = try await call.value }
            #expect(await fixture.journal.has("hang cancelled", times: 2))
            #expect(try await second.call("Echo", "again") == "again")
            await second.close()
        }
    }

    @Test func theObserverIsToldOfEachCallOnce() async throws {
        let records = Mutex<[RPCCallRecord]>([])
        var options = RPCServer.Options()
        options.observer = { record in records.withLock { $0.append(record) } }
        try await withServer(options: options) { fixture async throws in
            let calls = [
                ("Work", RPCCallOptions()), ("Fail", .init()), ("Hang", .init(timeout: .seconds(1))),
                ("Missing", .init()),
            ]
            for (count, call) in calls.enumerated() {
                _ = try await fixture.client.failure(call.0, "30", call.1)
                #expect(await becomesTrue { records.withLock { $0.count } == count + 1 })
            }
        }
        let all = records.withLock { $0 }
        #expect(all.map(\.path) == ["Work", "Fail", "Hang", "Missing"].map { "/test.Service/\($0)" })
        #expect(all.map(\.status.code) == [.ok, .failedPrecondition, .deadlineExceeded, .unimplemented])
        #expect(all.allSatisfy { $0.peer.hasPrefix("unix:") })
        #expect(all[0].duration >= .milliseconds(30))
    }

    @Test func withoutAServerACallFailsOrWaitsAsWished() async throws {
        try await withTemporaryDirectory { directory async throws in
            let address = RPCAddress.unix(path: directory + "/late.sock")
            let impatient = try RPCClient(address)
            #expect(try await impatient.failure("Echo")?.code == .unavailable)
            var options = RPCClient.Options()
            options.waitsForReady = true
            let patient = try RPCClient(address, options: options)
            #expect(
                try await patient.failure("Echo", "", .init(timeout: .milliseconds(200)))?.code == .deadlineExceeded)
            let call = Task { try await patient.call("Echo", "hello", .init(timeout: .seconds(20))) }
            let server = RPCServer(TestService.methods())
            try await server.listen(on: address)
            #expect(try await call.value == "hello")
            await impatient.close()
            await patient.close()
            await server.shutdown(gracePeriod: .seconds(1))
        }
    }

    @Test func aClosedClientCancelsItsCallsAndRefusesMore() async throws {
        try await withServer { fixture async throws in
            let client = try RPCClient(fixture.address)
            let call = Task { try await client.failure("Hang") }
            #expect(await fixture.journal.has("hang began"))
            await client.close()
            #expect(try await call.value?.code == .cancelled)
            #expect(try await client.failure("Echo")?.code == .unavailable)
            await client.close()
        }
    }

    @Test func aClientThatIsLetGoOfEndsQuietly() async throws {
        try await withServer { fixture async throws in
            for _ in 0..<20 {
                let client = try RPCClient(fixture.address)
                _ = try await client.call("Echo", "x")
            }
        }
    }
}
