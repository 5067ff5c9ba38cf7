import Errors
import Foundation
import RPC
import Testing

@testable import CSI

/// Services behind a real gRPC server on a Unix socket.
@Suite struct ServerTests {
    private func withServer<Result>(_ body: (RPCClient, String) async throws -> Result) async throws -> Result {
        try await withTemporaryDirectory { directory in
            let plugin = SmallPlugin()
            let server = RPCServer(controllerMethods(plugin) + snapshotMetadataMethods(plugin))
            let socket = directory.appending(path: "csi.sock").path
            let address = try await server.listen(on: .unix(path: socket))
            let client = try RPCClient(address)
            let result: Swift.Result<Result, any Error>
            do { result = .success(try await body(client, socket)) } catch { result = .failure(error) }
            await client.close()
            #expect(await server.shutdown(gracePeriod: .seconds(5)) == 0)
            return try result.get()
        }
    }

    @Test func clientsCallServices() async throws {
        try await withServer { client, _ in
            let controller = ControllerClient(client)
            let response = try await controller.createVolume(.init(name: "v"), options: .init(timeout: .seconds(10)))
            #expect(response.volume?.volumeID.hasPrefix("v by unix:") == true)
            let error = await #expect(throws: RPCStatus.self) {
                try await controller.createVolume(.init(name: "missing"))
            }
            #expect(error == RPCStatus(.notFound, "no such thing (make one)"))
            let missing = await #expect(throws: RPCStatus.self) {
                try await controller.deleteVolume(.init(volumeID: "v"))
            }
            #expect(missing == RPCStatus(unimplemented: "DeleteVolume"))
            var sizes: [Int64] = []
            for try await response in SnapshotMetadataClient(client).getMetadataAllocated(.init(maxResults: 100)) {
                sizes.append(response.volumeCapacityBytes)
            }
            #expect(sizes == Array(0..<100))
        }
    }

    /// The longest messages that a status may have arrive whole.
    @Test(arguments: ["a", "%", "€", "💾"])
    func longestMessagesArrive(piece: String) async throws {
        let text = String(repeating: piece, count: 10_000)
        let expected = RPCStatus(PerSSDError(.corrupt, text))
        try await withServer { client, _ in
            let error = await #expect(throws: RPCStatus.self) {
                try await ControllerClient(client).createVolume(.init(name: "corrupt", parameters: ["text": text]))
            }
            #expect(error == expected)
        }
    }

    @Test func pythonCallsServices() async throws {
        let output = try await withServer { _, socket in try await python("call.py", socket) }
        let lines = output.split(separator: "\n")
        try #require(lines.count == 5, "\(output)")
        #expect(lines[0].hasPrefix("vol-ä by unix:"))
        #expect(lines[1] == "NOT_FOUND no such thing (make one)")
        #expect(lines[2].hasPrefix("INVALID_ARGUMENT csi.v1.CreateVolumeRequest: field name holds a NUL character"))
        #expect(lines[3].hasPrefix("INVALID_ARGUMENT csi.v1.CreateVolumeRequest: field name is cut short"))
        #expect(lines[4] == "[0, 1, 2]")
    }
}
