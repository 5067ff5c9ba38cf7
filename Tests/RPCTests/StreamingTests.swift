import RPC
import Testing

@Suite struct StreamingTests {
    @Test(arguments: Transport.allCases)
    func aServerStreamsItsMessagesInOrder(transport: Transport) async throws {
        try await withServer(transport) { fixture async throws in
            #expect(try await fixture.client.collect("Count", "1000") == (0..<1000).map(String.init))
            #expect(try await fixture.client.collect("Count", "0") == [])
        }
    }

    @Test func aStreamThatFailsBringsItsMessagesAndThenTheStatus() async throws {
        try await withServer { fixture async throws in
            var received: [[UInt8]] = []
            var failure: RPCStatus?
            do {
                let stream = fixture.client.serverStreaming("/test.Service/CountThenFail", [], options: .init())
                for try await message in stream { received.append(message) }
            } catch let status as RPCStatus {
                failure = status
            }
            #expect(received == [[1], [2]])
            #expect(failure == RPCStatus(.aborted, "half-way", details: TestService.details))
        }
    }

    @Test func aSenderWaitsForASlowReceiver() async throws {
        try await withServer { fixture async throws in
            let stream = fixture.client.serverStreaming("/test.Service/Flood", [], options: .init())
            var iterator = stream.makeAsyncIterator()
            _ = try await iterator.next()
            // Without back-pressure it would send some thousands of messages in this time.
            try await Task.sleep(for: .milliseconds(500))
            let ahead = fixture.journal.count(of: "sent")
            #expect(ahead < 200, "the server sent \(ahead) messages of 64 KiB that nobody read")
            for _ in 0..<500 { #expect(try await iterator.next()?.count == 64 << 10) }
            #expect(fixture.journal.count(of: "sent") >= 490)
        }
    }

    @Test func lettingGoOfAStreamCancelsItsHandler() async throws {
        try await withServer { fixture async throws in
            for try await _ in fixture.client.serverStreaming("/test.Service/Flood", [], options: .init()) { break }
            #expect(await fixture.journal.has("flood ended"))
            let before = fixture.journal.count(of: "sent")
            var unread: AsyncThrowingStream? = fixture.client.serverStreaming(
                "/test.Service/Flood", [], options: .init())
            #expect(await fixture.journal.has("sent", times: before + 1))
            #expect(unread != nil)
            unread = nil
            #expect(await fixture.journal.has("flood ended", times: 2))
        }
    }

    @Test func cancellingTheTaskThatReadsCancelsTheCall() async throws {
        try await withServer { fixture async throws in
            let reader = Task {
                do {
                    for try await _ in fixture.client.serverStreaming("/test.Service/Flood", [], options: .init()) {}
                    return RPCStatus(.ok, "")
                } catch let status as RPCStatus {
                    return status
                }
            }
            #expect(await fixture.journal.has("sent", times: 10))
            reader.cancel()
            // A stream of Swift's ends without an error when its task is cancelled between two messages.
            let code = try await reader.value.code
            #expect(code == .cancelled || code == .ok)
            #expect(await fixture.journal.has("flood ended"))
        }
    }

    @Test func aDeadlineEndsAStream() async throws {
        try await withServer { fixture async throws in
            let error = await #expect(throws: RPCStatus.self) {
                let options = RPCCallOptions(timeout: .seconds(1))
                for try await _ in fixture.client.serverStreaming("/test.Service/Flood", [], options: options) {}
            }
            #expect(error?.code == .deadlineExceeded)
            #expect(await fixture.journal.has("flood ended"))
        }
    }

    @Test(arguments: Transport.allCases)
    func bothSidesStreamAtTheirOwnPace(transport: Transport) async throws {
        try await withServer(transport) { fixture async throws in
            let call = try fixture.client.bidirectional("/test.Service/Chat")
            async let sent: Void = {
                for number in 0..<500 { try await call.send(Array("\(number)".utf8)) }
                try await call.finishSending()
            }()
            var received: [String] = []
            for try await message in call.responses { received.append(String(decoding: message, as: UTF8.self)) }
            try await sent
            #expect(received == (0..<500).map(String.init))
            #expect(await fixture.journal.has("chat ended"))
            await #expect(throws: RPCStatus.self) { try await call.send([1]) }
        }
    }

    @Test func manyTasksMaySendOnOneStream() async throws {
        try await withServer { fixture async throws in
            let call = try fixture.client.bidirectional("/test.Service/Chat")
            var iterator = call.responses.makeAsyncIterator()
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<50 { group.addTask { try await call.send([UInt8(number)]) } }
                try await group.waitForAll()
            }
            try await call.finishSending()
            var received: Set<[UInt8]> = []
            while let message = try await iterator.next() { received.insert(message) }
            #expect(received.count == 50)
        }
    }

    @Test func aCancelledStreamBreaksTheHandlersRequests() async throws {
        try await withServer { fixture async throws in
            let call = try fixture.client.bidirectional("/test.Service/Chat")
            var iterator = call.responses.makeAsyncIterator()
            try await call.send([1])
            #expect(try await iterator.next() == [1])
            call.cancel()
            let error = await #expect(throws: RPCStatus.self) { try await iterator.next() }
            #expect(error?.code == .cancelled)
            let ended = await becomesTrue {
                fixture.journal.count(of: "chat broken") + fixture.journal.count(of: "chat ended") == 1
            }
            #expect(ended)
        }
    }

    @Test func aHandlerMayUseItsWriterAfterItsEndWithoutHarm() async throws {
        let journal = Journal()
        let method = RPCMethod(
            "/test.Service/Escape",
            .serverStreaming { _, _, responses in
                Task {
                    try? await Task.sleep(for: .milliseconds(50))
                    do {
                        try await responses.send([1])
                        journal.note("sent")
                    } catch {
                        journal.note("refused")
                    }
                }
            })
        try await withTemporaryDirectory { directory async throws in
            let server = RPCServer([method])
            let client = try RPCClient(try await server.listen(on: .unix(path: directory + "/s")))
            #expect(try await client.collect("Escape") == [])
            await client.close()
            await server.shutdown(gracePeriod: .seconds(1))
            #expect(await journal.has("refused"))
        }
    }

    @Test func twoTasksThatReadOneStreamAreToldSo() async throws {
        try await withServer { fixture async throws in
            let call = try fixture.client.bidirectional("/test.Service/Chat")
            try await withThrowingTaskGroup(of: Result<[UInt8]?, any Error>.self) { group in
                for _ in 0..<2 {
                    group.addTask {
                        do {
                            return .success(try await call.responses.first { _ in true })
                        } catch {
                            return .failure(error)
                        }
                    }
                }
                // Whoever comes second is refused, and the first is not disturbed.
                let refused = await #expect(throws: RPCStatus.self) { try await group.next()?.get() }
                #expect(refused?.code == .internal)
                try await call.send([9])
                #expect(try await group.next()?.get() == [9])
            }
        }
    }
}
