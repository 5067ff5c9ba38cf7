import Errors
import RPC
import Synchronization
import Testing

@testable import CSI

/// Services and clients, through a channel in this process.
@Suite struct ServiceTests {
    private final class Recorder: CallObserver {
        let events = Mutex<[String]>([])

        func callBegan(_ call: ServedCall) { events.withLock { $0.append("began \(call)") } }

        func callEnded(_ call: ServedCall, status: RPCStatus?, after duration: Duration) {
            events.withLock { $0.append("ended \(call.method): \(status.map(\.description) ?? "OK")") }
        }
    }

    private let recorder = Recorder()
    private let channel: LoopbackChannel

    init() {
        let plugin = SmallPlugin()
        channel = LoopbackChannel(
            methods: controllerMethods(plugin, observer: recorder) + snapshotMetadataMethods(plugin, observer: recorder)
                + identityMethods(plugin, observer: recorder))
    }

    private func events() -> [String] { recorder.events.withLock { $0 } }

    @Test func callsReachTheService() async throws {
        let client = ControllerClient(channel)
        let response = try await client.createVolume(CreateVolumeRequest(name: "v", secrets: ["a": "canary"]))
        #expect(response.volume?.volumeID == "v by loopback")
        #expect(
            events() == [
                #"began CreateVolume CreateVolumeRequest(name: "v", secrets: ***stripped***)"#,
                "ended CreateVolume: OK",
            ])
    }

    @Test func errorsBecomeStatuses() async throws {
        let client = ControllerClient(channel)
        func expect(_ name: String, _ status: RPCStatus) async {
            let error = await #expect(throws: RPCStatus.self) { try await client.createVolume(.init(name: name)) }
            #expect(error == status)
            #expect(events().last == "ended CreateVolume: \(status)")
        }
        await expect("missing", RPCStatus(.notFound, "no such thing (make one)"))
        await expect("busy", RPCStatus(.aborted, "43%"))
        let error = await #expect(throws: RPCStatus.self) { try await client.createVolume(.init(name: "unwritable")) }
        #expect(error?.message.contains("field volume_id holds a NUL") == true)
    }

    @Test func unreadableRequestsAreRefused() async throws {
        let error = await #expect(throws: RPCStatus.self) {
            try await channel.unary("/csi.v1.Controller/CreateVolume", [0x0a, 0x09], options: RPCCallOptions())
        }
        #expect(error?.code == .invalidArgument)
        #expect(error?.message.hasPrefix("csi.v1.CreateVolumeRequest: field name is cut short") == true)
        #expect(events().count == 1)
        #expect(events().first?.hasPrefix("ended CreateVolume: INVALID_ARGUMENT") == true)
    }

    @Test func unwritableRequestsAreNotSent() async throws {
        let error = await #expect(throws: RPCStatus.self) {
            try await ControllerClient(channel).createVolume(.init(name: "a\0"))
        }
        #expect(error?.code == .invalidArgument)
        let stream = SnapshotMetadataClient(channel).getMetadataAllocated(.init(snapshotID: "a\0"))
        let other = await #expect(throws: RPCStatus.self) { for try await _ in stream {} }
        #expect(other?.code == .invalidArgument)
        #expect(events().isEmpty)
    }

    @Test func unreadableResponsesAreTheServersFault() async throws {
        let broken = LoopbackChannel(methods: [
            RPCMethod("/csi.v1.Controller/CreateVolume", .unary { _, _ in [0xff] }),
            RPCMethod(
                "/csi.v1.SnapshotMetadata/GetMetadataDelta",
                .serverStreaming { _, _, out in try await out.send([0xff]) }),
        ])
        let error = await #expect(throws: RPCStatus.self) { try await ControllerClient(broken).createVolume(.init()) }
        #expect(error?.code == .internal)
        #expect(error?.message.contains("cannot read the response of CreateVolume") == true)
        let stream = SnapshotMetadataClient(broken).getMetadataDelta(.init())
        let other = await #expect(throws: RPCStatus.self) { for try await _ in stream {} }
        #expect(other?.code == .internal)
    }

    @Test func streamsArrive() async throws {
        let client = SnapshotMetadataClient(channel)
        var sizes: [Int64] = []
        for try await response in client.getMetadataAllocated(.init(maxResults: 5)) {
            sizes.append(response.volumeCapacityBytes)
        }
        #expect(sizes == [0, 1, 2, 3, 4])

        sizes = []
        let error = await #expect(throws: RPCStatus.self) {
            for try await response in client.getMetadataAllocated(.init(snapshotID: "damaged", maxResults: 2)) {
                sizes.append(response.volumeCapacityBytes)
            }
        }
        #expect(error == RPCStatus(.dataLoss, "damaged map"))
        #expect(sizes == [0, 1])
        #expect(events().last == "ended GetMetadataAllocated: DATA_LOSS: damaged map")
    }

    @Test func whatIsNotImplementedSaysSo() async throws {
        let methods = everyMethod(of: EmptyPlugin())
        #expect(methods.count == 32)
        let empty = LoopbackChannel(methods: methods)
        for method in methods {
            let error = await #expect(throws: RPCStatus.self, "\(method.path)") {
                if case .unary = method.handler {
                    _ = try await empty.unary(method.path, [], options: RPCCallOptions())
                } else {
                    for try await _ in empty.serverStreaming(method.path, [], options: RPCCallOptions()) {}
                }
            }
            let text = "\(shortMethodName(method.path)) is not supported by this plugin"
            #expect(error == RPCStatus(.unimplemented, text))
        }
        let error = await #expect(throws: RPCStatus.self) { try await NodeClient(empty).nodeGetInfo(.init()) }
        #expect(error?.code == .unimplemented)
    }
}
