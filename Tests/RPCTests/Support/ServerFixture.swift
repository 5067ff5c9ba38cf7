import RPC
import Testing

/// A running server and a client of it, for the duration of one test.
struct ServerFixture: Sendable {
    let server: RPCServer
    let client: RPCClient
    let address: RPCAddress
    let journal: Journal
    let directory: String
}

enum Transport: String, CaseIterable, Sendable { case unix, tcp }

/// Starts a server of `TestService` and stops it again; a handler that outlives it fails the test.
func withServer<Result>(
    _ transport: Transport = .unix, options: RPCServer.Options = .init(), clientOptions: RPCClient.Options = .init(),
    isolation: isolated (any Actor)? = #isolation,
    _ body: (ServerFixture) async throws -> Result
) async throws -> Result {
    try await withTemporaryDirectory { directory in
        let journal = Journal()
        let server = RPCServer(TestService.methods(journal), options: options)
        let wanted: RPCAddress =
            transport == .unix ? .unix(path: directory + "/s.sock") : .tcp(host: "127.0.0.1", port: 0)
        let address = try await server.listen(on: wanted)
        let client = try RPCClient(address, options: clientOptions)
        let fixture = ServerFixture(
            server: server, client: client, address: address, journal: journal, directory: directory)
        let result: Result
        do {
            result = try await body(fixture)
        } catch {
            await client.close()
            await server.shutdown(gracePeriod: .zero)
            throw error
        }
        await client.close()
        let left = await server.shutdown(gracePeriod: .seconds(5))
        #expect(left == 0, "handlers still run after the server's end")
        return result
    }
}
