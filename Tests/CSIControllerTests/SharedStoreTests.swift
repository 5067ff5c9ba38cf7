import CSI
import CatalogTestSupport
import Errors
import Foundation
import Persistence
import RPC
import TestSupport
import Testing

/// Two controllers on one shared directory, and one behind a real socket.
@Suite struct SharedStoreTests {
    /// Two controllers that share nothing but the directory, each with a store of its own.
    private func pair(in directory: TemporaryDirectory) async throws -> [Bench] {
        let path = directory + "bucket"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        var benches: [Bench] = []
        for _ in 0..<2 { benches.append(Bench(try await DirectoryStore.open(directory: path))) }
        for node in ["a", "b"] { try await benches[0].register(node) }
        return benches
    }

    @Test func racingCreatesMakeOneVolume() async throws {
        try await withTemporaryDirectory { directory in
            let benches = try await pair(in: directory)
            for round in 0..<5 {
                let volumes = try await withThrowingTaskGroup(of: Volume.self) { group in
                    for index in 0..<8 {
                        group.addTask { try await benches[index % 2].create("pvc-\(round)") }
                    }
                    return try await group.reduce(into: [Volume]()) { $0.append($1) }
                }
                #expect(volumes.count == 8)
                #expect(volumes.allSatisfy { $0 == volumes[0] })
            }
            #expect(try await benches[0].controller.listVolumes(ListVolumesRequest()).entries.count == 5)
        }
    }

    @Test func racingPublishesHaveOneWinner() async throws {
        try await withTemporaryDirectory { directory in
            let benches = try await pair(in: directory)
            let volume = try await benches[0].create()
            for round in 1...5 {
                let winners = await withTaskGroup(of: String?.self) { group in
                    for index in 0..<8 {
                        let node = index % 2 == 0 ? "a" : "b"
                        group.addTask {
                            do {
                                let context = try await benches[index / 4].publish(volume, on: node)
                                #expect(context["epoch"] == "\(round)")
                                return node
                            } catch {
                                #expect((error as? RPCStatus)?.code == .failedPrecondition, "\(error)")
                                return nil
                            }
                        }
                    }
                    return await group.reduce(into: Set<String>()) { if let node = $1 { $0.insert(node) } }
                }
                #expect(winners.count == 1)
                let head = try await benches[1].head(volume)
                #expect(head.lease.map { [$0.holder.node] } == Array(winners))
                async let first: Void = benches[0].unpublish(volume, from: "", timeout: .seconds(60))
                async let second: Void = benches[1].unpublish(volume, from: "", timeout: .seconds(60))
                _ = try await (first, second)
            }
        }
    }

    @Test func racingRevocationsLoseOnce() async throws {
        try await withTemporaryDirectory { directory in
            let benches = try await pair(in: directory)
            let volume = try await benches[0].create(parameters: ["nodeLossTimeout": "1m"])
            _ = try await benches[0].publish(volume)
            try await benches[0].open(volume)
            await expectStatus(.aborted) { try await benches[0].unpublish(volume) }
            for bench in benches { bench.clock.advance(91) }
            async let first: Void = benches[0].unpublish(volume, timeout: .seconds(60))
            async let second: Void = benches[1].unpublish(volume, timeout: .seconds(60))
            _ = try await (first, second)
            #expect(try await benches[0].head(volume).epoch == 2)
            #expect(benches.flatMap { $0.log.messages(.error) }.count == 1)
        }
    }

    @Test func deletionsAndCreationsAtOnceEndConsistent() async throws {
        try await withTemporaryDirectory { directory in
            let benches = try await pair(in: directory)
            await withTaskGroup(of: Void.self) { group in
                for index in 0..<12 {
                    let bench = benches[index % 2]
                    group.addTask {
                        do {
                            if index % 3 == 0 {
                                let id = VolumeID(name: "pvc-1").rawValue
                                _ = try await bench.controller.deleteVolume(DeleteVolumeRequest(volumeID: id))
                            } else {
                                _ = try await bench.create()
                            }
                        } catch {
                            #expect((error as? RPCStatus)?.code == .aborted, "\(error)")
                        }
                    }
                }
            }
            let volume = try await benches[0].create()
            #expect(try await benches[1].create() == volume)
        }
    }

    @Test func servesOverASocket() async throws {
        try await withTemporaryDirectory { directory in
            let benches = try await pair(in: directory)
            let server = RPCServer(benches[0].plugin().methods())
            let address = try await server.listen(on: RPCAddress("unix://" + (directory + "c.sock")))
            let channel = try RPCClient(address)
            let client = ControllerClient(channel)
            let info = try await IdentityClient(channel).getPluginInfo(GetPluginInfoRequest())
            #expect(info.name == "csi.perssd.io")
            #expect(try await IdentityClient(channel).probe(ProbeRequest()).ready == true)
            let volume = try #require(try await client.createVolume(createRequest()).volume)
            _ = try await client.controllerPublishVolume(publishRequest(volume))
            try await benches[1].open(volume)
            await expectStatus(.aborted, "c/a") {
                try await client.controllerUnpublishVolume(
                    ControllerUnpublishVolumeRequest(volumeID: volume.volumeID, nodeID: "a"),
                    options: RPCCallOptions(timeout: .seconds(6)))
            }
            try await benches[1].commit(volume, closing: true)
            _ = try await client.controllerUnpublishVolume(
                ControllerUnpublishVolumeRequest(volumeID: volume.volumeID, nodeID: "a"))
            await expectStatus(.invalidArgument, "name is missing") { try await client.createVolume(createRequest("")) }
            _ = try await client.deleteVolume(DeleteVolumeRequest(volumeID: volume.volumeID))
            #expect(try await client.listVolumes(ListVolumesRequest()).entries.isEmpty)
            await channel.close()
            #expect(await server.shutdown(gracePeriod: .seconds(2)) == 0)
        }
    }
}
