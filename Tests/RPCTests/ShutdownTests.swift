import Errors
import Foundation
import RPC
import Testing

@Suite struct ShutdownTests {
    @Test(arguments: Transport.allCases)
    func callsThatRunFinishAndNewOnesAreRefused(transport: Transport) async throws {
        try await withServer(transport) { fixture async throws in
            let call = Task { try await fixture.client.call("Gate", "x") }
            #expect(await fixture.journal.has("gate reached"))
            async let left = fixture.server.shutdown(gracePeriod: .seconds(120))
            var newcomer: RPCStatus?
            let end = ContinuousClock.now + .seconds(20)
            while newcomer == nil, ContinuousClock.now < end {
                let client = try RPCClient(fixture.address)
                newcomer = try await client.failure("Echo", "", .init(timeout: .seconds(60)))
                await client.close()
            }
            #expect(newcomer?.code == .unavailable)
            // The connection that the running call holds open is no way in either.
            #expect(try await fixture.client.failure("Echo", "", .init(timeout: .seconds(60)))?.code == .unavailable)
            fixture.journal.note("gate opened")
            let start = ContinuousClock.now
            #expect(try await call.value == "x")
            #expect(await left == 0)
            #expect(ContinuousClock.now - start < .seconds(30), "it waited for the whole grace period")
        }
    }

    @Test func callsThatDoNotFinishInTimeAreCancelled() async throws {
        try await withServer { fixture async throws in
            let call = Task { try await fixture.client.failure("Hang") }
            #expect(await fixture.journal.has("hang began"))
            let start = ContinuousClock.now
            #expect(await fixture.server.shutdown(gracePeriod: .milliseconds(200)) == 0)
            let took = ContinuousClock.now - start
            #expect(took >= .milliseconds(190) && took < .seconds(60), "\(took)")
            #expect(try await call.value?.code == .unavailable)
            #expect(fixture.journal.events.contains("hang cancelled"))
        }
    }

    @Test func aHandlerThatIgnoresItsCancellationIsCountedAndDoesNoHarm() async throws {
        let journal = Journal()
        let release = Barrier(2)
        let method = RPCMethod(
            "/test.Service/Stubborn",
            .unary { request, _ in
                journal.note("began")
                await release.pass()
                journal.note("ended")
                return request
            })
        try await withTemporaryDirectory { directory async throws in
            let server = RPCServer([method])
            let client = try RPCClient(try await server.listen(on: .unix(path: directory + "/s")))
            let call = Task { try await client.failure("Stubborn") }
            #expect(await journal.has("began"))
            #expect(await server.shutdown(gracePeriod: .zero) == 1)
            #expect(try await call.value?.code == .unavailable)
            await release.pass()
            #expect(await journal.has("ended"))
            await client.close()
        }
    }

    @Test func aServerMayBeStoppedTwiceOrNeverStarted() async throws {
        #expect(await RPCServer([]).shutdown(gracePeriod: .seconds(1)) == 0)
        try await withServer { fixture async throws in
            async let first = fixture.server.shutdown(gracePeriod: .seconds(1))
            async let second = fixture.server.shutdown(gracePeriod: .seconds(1))
            #expect(await (first, second) == (0, 0))
            let error = await #expect(throws: PerSSDError.self) { try await fixture.server.listen(on: fixture.address) }
            #expect(error?.code == .failedPrecondition)
        }
    }

    @Test func aServerThatIsLetGoOfGoesDownByItself() async throws {
        try await withTemporaryDirectory { directory async throws in
            let path = directory + "/s"
            let journal = Journal()
            var server: RPCServer? = RPCServer(TestService.methods(journal))
            try await server?.listen(on: .unix(path: path))
            let client = try RPCClient(.unix(path: path))
            let call = Task { try await client.failure("Hang") }
            #expect(await journal.has("hang began"))
            server = nil
            #expect(try await call.value?.code == .unavailable)
            #expect(await journal.has("hang cancelled"))
            #expect(await becomesTrue { !FileManager.default.fileExists(atPath: path) })
            await client.close()
        }
    }

    @Test func aServerThatIsStoppedWhileItStartsLeavesNothing() async throws {
        try await withTemporaryDirectory { directory async throws in
            for _ in 0..<20 {
                let server = RPCServer(TestService.methods())
                let start = Task { try await server.listen(on: .unix(path: directory + "/s")) }
                await Task.yield()
                await server.shutdown(gracePeriod: .zero)
                _ = try? await start.value
                await server.shutdown(gracePeriod: .zero)
                #expect(try FileManager.default.contentsOfDirectory(atPath: directory) == [])
            }
        }
    }
}
