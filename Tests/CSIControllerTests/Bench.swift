import Agents
import CSI
import CSIController
import CatalogTestSupport
import Digests
import Errors
import Foundation
import Logging
import Persistence
import RPC
import Synchronization
import Testing
import VolumeEvents

/// The events that a plugin has told.
final class ToldEvents: Sendable {
    private let events = Mutex<[VolumeEvent]>([])
    var all: [VolumeEvent] { events.withLock { $0 } }
    var sink: EventSink { EventSink { event in self.events.withLock { $0.append(event) } } }
}

/// A controller on a store, and what a test needs to drive it as the sidecars do.
struct Bench {
    static let cluster = "c"
    let store: any ObjectStore
    let clock: TestClock
    let log = LogRecorder()
    let told = ToldEvents()
    var agents: any NodeAgents = NoNodeAgents()

    init(_ store: any ObjectStore = MemoryStore(), clock: TestClock = TestClock()) {
        (self.store, self.clock) = (store, clock)
    }

    var catalog: Catalog { Catalog(store: store, now: { [clock] in clock.now }) }

    func plugin(cluster: String = cluster) -> ControllerPlugin {
        // The clusters here have valid names.
        try! ControllerPlugin(
            catalog: catalog, cluster: cluster, version: "1.2.3", agents: agents, events: told.sink, logger: log.logger)
    }

    /// Every call goes through the messages' coding and the mapping of errors, as on the wire.
    var controller: ControllerClient { ControllerClient(DirectChannel(plugin().methods())) }

    func register(
        _ node: String, pool: String = "default", total: UInt64 = 100 << 30, free: UInt64? = nil, evictable: UInt64 = 0,
        cluster: String = cluster
    ) async throws {
        let report = NodeRecord.PoolReport(
            name: pool, totalBytes: total, freeBytes: free ?? total, evictableBytes: evictable)
        try await catalog.save(
            NodeRecord(
                node: try NodeReference(cluster: cluster, node: node), pools: [report], startedAt: catalog.time,
                seenAt: catalog.time, interval: 30))
    }

    /// A bench with the nodes "a" and "b".
    static func withNodes(_ store: any ObjectStore = MemoryStore()) async throws -> Bench {
        let bench = Bench(store)
        try await bench.register("a")
        try await bench.register("b")
        return bench
    }

    func create(_ name: String = "pvc-1", parameters: [String: String] = [:]) async throws -> Volume {
        let response = try await controller.createVolume(createRequest(name, parameters: parameters))
        return try #require(response.volume)
    }

    func publish(_ volume: Volume, on node: String = "a", readonly: Bool = false) async throws -> [String: String] {
        try await controller.controllerPublishVolume(publishRequest(volume, on: node, readonly: readonly))
            .publishContext
    }

    func unpublish(_ volume: Volume, from node: String = "a", timeout: Duration = .milliseconds(400)) async throws {
        _ = try await controller.controllerUnpublishVolume(
            ControllerUnpublishVolumeRequest(volumeID: volume.volumeID, nodeID: node),
            options: RPCCallOptions(timeout: timeout))
    }

    func id(_ volume: Volume) throws -> VolumeID { try #require(VolumeID(volume.volumeID)) }

    func head(_ volume: Volume) async throws -> Head { try await catalog.head(try id(volume)).value }

    // MARK: What a node does

    func open(_ volume: Volume, on node: String = "a") async throws {
        let reference = try NodeReference(cluster: Self.cluster, node: node)
        _ = try await catalog.updateHead(try id(volume)) {
            try $0.opening(by: reference, expectedEpoch: nil, now: catalog.time)
        }
    }

    @discardableResult
    func commit(_ volume: Volume, on node: String = "a", closing: Bool) async throws -> GenerationReference {
        let reference = try NodeReference(cluster: Self.cluster, node: node)
        let listing = try await catalog.volume(try id(volume))
        let (record, head) = (listing.record, listing.head)
        let geometry = try MapGeometry(
            blockSize: BlockSize(bytes: record.parameters.blockSize), capacityBytes: record.capacityBytes)
        let generation = try await catalog.write(
            GenerationRecord(
                volume: record.volume, incarnation: record.incarnation, lineage: record.lineage,
                number: (head.newest?.number ?? 0) + 1, parent: head.newest, epoch: head.epoch,
                map: .zeros(geometry),
                provenance: Provenance(
                    node: reference, cutAt: catalog.time, stagedOutAt: catalog.time, readBytes: 0, changedBytes: 0,
                    sentBytes: 0)), wrote: [])
        _ = try await catalog.updateHead(record.volume) {
            try $0.committing(generation, by: reference, epoch: head.epoch, closing: closing, now: catalog.time)
        }
        return generation
    }
}

func mountCapability(
    _ mode: VolumeCapability.AccessMode.Mode = .singleNodeWriter, fsType: String = "", flags: [String] = [],
    group: String = ""
) -> VolumeCapability {
    VolumeCapability(
        accessType: .mount(
            VolumeCapability.MountVolume(fsType: fsType, mountFlags: flags, volumeMountGroup: group)),
        accessMode: VolumeCapability.AccessMode(mode: mode))
}

func blockCapability(_ mode: VolumeCapability.AccessMode.Mode = .singleNodeWriter) -> VolumeCapability {
    VolumeCapability(
        accessType: .block(VolumeCapability.BlockVolume()), accessMode: VolumeCapability.AccessMode(mode: mode))
}

func createRequest(
    _ name: String = "pvc-1", required: Int64 = 1 << 30, limit: Int64 = 0,
    capabilities: [VolumeCapability] = [mountCapability()], parameters: [String: String] = [:]
) -> CreateVolumeRequest {
    CreateVolumeRequest(
        name: name, capacityRange: CapacityRange(requiredBytes: required, limitBytes: limit),
        volumeCapabilities: capabilities, parameters: parameters)
}

func publishRequest(
    _ volume: Volume, on node: String = "a", capability: VolumeCapability? = mountCapability(), readonly: Bool = false
) -> ControllerPublishVolumeRequest {
    ControllerPublishVolumeRequest(
        volumeID: volume.volumeID, nodeID: node, volumeCapability: capability, readonly: readonly,
        volumeContext: volume.volumeContext)
}

/// A volume that was never made.
let strangeVolume = Volume(volumeID: VolumeID(name: "never made").rawValue)

/// That a call fails with this status, and its message has all of `words` in it.
func expectStatus(
    _ code: RPCStatus.Code, _ words: String..., sourceLocation: SourceLocation = #_sourceLocation,
    _ call: () async throws -> some Sendable
) async {
    do {
        _ = try await call()
        Issue.record("no error, where \(code.name) is expected", sourceLocation: sourceLocation)
    } catch let status as RPCStatus {
        #expect(status.code == code, "\(status)", sourceLocation: sourceLocation)
        for word in words {
            #expect(
                status.message.contains(word), "'\(word)' is not in: \(status)", sourceLocation: sourceLocation)
        }
    } catch {
        Issue.record("no status: \(error)", sourceLocation: sourceLocation)
    }
}

/// Calls methods without a wire.
struct DirectChannel: RPCChannel {
    private let handlers: [String: RPCMethod.Handler]

    init(_ methods: [RPCMethod]) {
        handlers = Dictionary(uniqueKeysWithValues: methods.map { ($0.path, $0.handler) })
    }

    func unary(_ path: String, _ request: [UInt8], options: RPCCallOptions) async throws -> [UInt8] {
        guard case .unary(let handler) = handlers[path] else { throw RPCStatus(.unimplemented, path) }
        let deadline = options.timeout.map { ContinuousClock.now + $0 }
        return try await handler(request, RPCContext(path: path, deadline: deadline, metadata: [], peer: "test"))
    }

    func serverStreaming(
        _ path: String, _ request: [UInt8], options: RPCCallOptions
    ) -> AsyncThrowingStream<[UInt8], any Error> {
        AsyncThrowingStream { throw RPCStatus(.unimplemented, path) }
    }
}

/// Keeps what is logged.
final class LogRecorder: Sendable {
    private let lines = Mutex<[(level: Logger.Level, text: String)]>([])

    var logger: Logger {
        var logger = Logger(label: "test") { _ in Handler(recorder: self) }
        logger.logLevel = .trace
        return logger
    }

    func messages(_ level: Logger.Level? = nil) -> [String] {
        lines.withLock { $0.filter { level == nil || $0.level == level }.map(\.text) }
    }

    private struct Handler: LogHandler {
        let recorder: LogRecorder
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.trace

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let all = metadata.merging(event.metadata ?? [:]) { $1 }.sorted { $0.key < $1.key }
            let text = "\(event.message) " + all.map { "\($0.key)=\($0.value)" }.joined(separator: " ")
            recorder.lines.withLock { $0.append((event.level, text)) }
        }
    }
}
