import Foundation
import RPC
import Testing

@Suite struct FirstUnaryTests {
    @Test func echo() async throws {
        let server = RPCServer([RPCMethod("/t.Echo/Say", .unary { request, _ in request.reversed() })])
        let path = "/tmp/rpc-\(UUID().uuidString.prefix(8)).sock"
        let address = try await server.listen(on: RPCAddress(path))
        let client = try RPCClient(address)
        for _ in 0..<100 {
            let answer = try await client.unary("/t.Echo/Say", [1, 2, 3], options: RPCCallOptions())
            #expect(answer == [3, 2, 1])
        }
        await client.close()
        let left = await server.shutdown(gracePeriod: .seconds(1))
        #expect(left == 0)
        #expect(!FileManager.default.fileExists(atPath: path))
    }
}
