import CSI
import CSIRules
import Errors
import Foundation
import LocalVolumes
import Logging
import Persistence
import RPC
import SystemPackage
import TestSupport
import Testing
import VolumeEvents

@testable import CSINode

/// Nodes with pools of their own on one shared directory: real loop devices, real file systems, a real store.
final class NodeHarness: Sendable {
    let directory: TemporaryDirectory
    let catalog: Catalog
    let logger: Logger

    init() async throws {
        // On a disk: a tmpfs knows no direct I/O.
        directory = try TemporaryDirectory("node")
        try FileManager.default.createDirectory(atPath: directory + "bucket", withIntermediateDirectories: true)
        catalog = Catalog(store: try await DirectoryStore.open(directory: directory + "bucket"))
        var logger = Logger(label: "test")
        logger.logLevel = .error
        self.logger = logger
    }

    func volume(_ name: String, bytes: Int64 = 64 << 20, parameters: [String: String] = [:]) async throws
        -> VolumeRecord
    {
        try await catalog.createVolume(
            NewVolume(
                name: name, requiredBytes: bytes, limitBytes: 0,
                parameters: try VolumeParameters(parsing: parameters), claim: nil))
    }

    /// - Parameters:
    ///   - pool: a directory for the pool; nil for one beside the others, where nothing is shared between files.
    ///   - more: names of further pools.
    ///   - missing: those that the node is to have, and lacks.
    ///   - starting: whether it takes up what is there.
    ///   - wrapping: what the plugin gets for a pool.
    func node(
        _ name: String, pool directoryOfPool: FilePath? = nil, poolSize: UInt64? = 4 << 30, more: [String] = [],
        missing: [MissingPool] = [], watchInterval: Duration = .seconds(3600), starting: Bool = true,
        events: EventSink = .none, wrapping: (ImagePool) -> any VolumePool = { $0 }
    ) async throws -> TestNode {
        let pods = directory + "\(name)/pods"
        try FileManager.default.createDirectory(atPath: pods, withIntermediateDirectories: true)
        var pools: [any VolumePool] = []
        for pool in (["default"] + more).filter({ name in !missing.contains { $0.name == name } }) {
            pools.append(
                wrapping(
                    try await ImagePool.open(
                        name: pool, directory: directoryOfPool ?? FilePath(directory + "\(name)/pool-\(pool)"),
                        options: ImagePool.Options(size: poolSize), logger: logger)))
        }
        let publisher = try await Publisher(stateDirectory: FilePath(directory + "\(name)/state"), logger: logger)
        let plugin = try NodePlugin(
            node: try NodeReference(cluster: "test", node: name), catalog: catalog, pools: pools,
            missingPools: missing, publisher: publisher,
            version: "test", watchInterval: watchInterval, events: events, logger: logger)
        if starting { try await plugin.start() }
        return TestNode(harness: self, plugin: plugin, pods: pods)
    }
}

struct TestNode: Sendable {
    /// Its directories go with it.
    let harness: NodeHarness
    let plugin: NodePlugin
    let pods: String

    func context(seconds: Int = 60) -> RPCContext {
        RPCContext(path: "/test", deadline: .now + .seconds(seconds), metadata: [], peer: "test")
    }

    func capability(_ fileSystem: String?, exclusive: Bool = false) -> VolumeCapability {
        VolumeCapability(
            accessType: fileSystem.map { .mount(VolumeCapability.MountVolume(fsType: $0)) }
                ?? .block(VolumeCapability.BlockVolume()),
            accessMode: VolumeCapability.AccessMode(mode: exclusive ? .singleNodeSingleWriter : .singleNodeWriter))
    }

    /// - Returns: where the pod sees the volume.
    @discardableResult
    func publish(
        _ volume: VolumeRecord, pod: String = "pod", fileSystem: String? = "ext4", readOnly: Bool = false,
        context volumeContext: [String: String] = [:]
    ) async throws -> String {
        let target = "\(pods)/\(pod)"
        _ = try await plugin.nodePublishVolume(
            NodePublishVolumeRequest(
                volumeID: volume.volume.rawValue, targetPath: target, volumeCapability: capability(fileSystem),
                readonly: readOnly, volumeContext: volumeContext), context: context())
        return target
    }

    func unpublish(_ volume: VolumeRecord, pod: String = "pod") async throws {
        _ = try await plugin.nodeUnpublishVolume(
            NodeUnpublishVolumeRequest(volumeID: volume.volume.rawValue, targetPath: "\(pods)/\(pod)"),
            context: context())
    }
}

@Suite(.serialized) struct NodePluginTests {
    @Test(arguments: ["ext4", "xfs", "btrfs"])
    func aVolumeWrittenOnOneNodeIsReadBackOnAnother(fileSystem: String) async throws {
        let harness = try await NodeHarness()
        let volume = try await harness.volume("moved", bytes: 320 << 20)
        let a = try await harness.node("a")
        let b = try await harness.node("b")
        let contents = [UInt8]((0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31 ^ ($0 >> 7)) })

        let onA = try await a.publish(volume, fileSystem: fileSystem)
        #expect(FileManager.default.createFile(atPath: "\(onA)/data", contents: Data(contents)))
        try await a.unpublish(volume)
        #expect(!FileManager.default.fileExists(atPath: onA))

        let onB = try await b.publish(volume, fileSystem: fileSystem)
        #expect(FileManager.default.contents(atPath: "\(onB)/data") == Data(contents))
        #expect(FileManager.default.createFile(atPath: "\(onB)/second", contents: Data("from b".utf8)))
        try await b.unpublish(volume)

        let again = try await a.publish(volume, fileSystem: fileSystem)
        #expect(FileManager.default.contents(atPath: "\(again)/second") == Data("from b".utf8))
        try await a.unpublish(volume)
        let head = try await harness.catalog.head(volume.volume).value
        #expect(head.newest?.number == 3)
        #expect(head.lease == nil)
    }

    @Test func theFirstFileSystemIsMadeAsTheParametersSay() async throws {
        let harness = try await NodeHarness()
        let volume = try await harness.volume(
            "made", bytes: 256 << 20, parameters: ["inodeRatio": "1Mi", "reservedBlocksPercent": "50"])
        let node = try await harness.node("a")
        // Which file system it gets is known for certain only now.
        let error = await #expect(throws: PerSSDError.self) { try await node.publish(volume, fileSystem: "btrfs") }
        #expect(error?.code == .invalidArgument && error?.description.contains("inodeRatio") == true)
        let path = try await node.publish(volume)
        let usage = try await node.plugin.nodeGetVolumeStats(
            NodeGetVolumeStatsRequest(volumeID: volume.volume.rawValue, volumePath: path), context: node.context()
        ).usage
        let inodes = try #require(usage.first { $0.unit == .inodes })
        #expect(inodes.total == 256)
        let bytes = try #require(usage.first { $0.unit == .bytes })
        #expect(bytes.available < bytes.total * 6 / 10)
        try await node.unpublish(volume)
    }

    @Test func theControllerAndTheNodeKnowTheSameFileSystems() {
        #expect(CapabilityRules.fileSystems == FileSystemKind.allCases.map(\.rawValue))
        for kind in FileSystemKind.allCases {
            #expect(CapabilityRules.smallestVolumes[kind.rawValue] == Int64(kind.minimumBytes))
        }
    }

    @Test func aPublishElsewhereIsRefusedWhileTheVolumeIsOpen() async throws {
        let harness = try await NodeHarness()
        let volume = try await harness.volume("held")
        let a = try await harness.node("a")
        let b = try await harness.node("b")
        try await a.publish(volume)
        let error = await #expect(throws: PerSSDError.self) { try await b.publish(volume) }
        #expect(error?.code == .failedPrecondition)
        #expect(error?.description.contains("test/a") == true)
        try await a.unpublish(volume)
    }

    @Test func aReadOnlyPublicationMakesNoGeneration() async throws {
        let harness = try await NodeHarness()
        let volume = try await harness.volume("read")
        let a = try await harness.node("a")
        let b = try await harness.node("b")
        let path = try await a.publish(volume)
        try Data("text".utf8).write(to: URL(fileURLWithPath: "\(path)/file"))
        try await a.unpublish(volume)
        let onB = try await b.publish(volume, readOnly: true)
        #expect(FileManager.default.contents(atPath: "\(onB)/file") == Data("text".utf8))
        #expect(throws: (any Error).self) { try Data().write(to: URL(fileURLWithPath: "\(onB)/other")) }
        try await b.unpublish(volume)
        #expect(try await harness.catalog.head(volume.volume).value.newest?.number == 1)
    }

    @Test(arguments: ["ext4", "xfs", "btrfs"])
    func aVolumeThatIsReadCanBeOpenedForWritingBesides(fileSystem: String) async throws {
        let harness = try await NodeHarness()
        let volume = try await harness.volume("read first", bytes: 320 << 20)
        let node = try await harness.node("a")
        let path = try await node.publish(volume, fileSystem: fileSystem)
        try Data("one".utf8).write(to: URL(fileURLWithPath: "\(path)/file"))
        try await node.unpublish(volume)

        let reader = try await node.publish(volume, pod: "reader", fileSystem: fileSystem, readOnly: true)
        let writer = try await node.publish(volume, pod: "writer", fileSystem: fileSystem)
        try Data("two".utf8).write(to: URL(fileURLWithPath: "\(writer)/file"))
        #expect(FileManager.default.contents(atPath: "\(reader)/file") == Data("two".utf8))
        #expect(throws: (any Error).self) { try Data().write(to: URL(fileURLWithPath: "\(reader)/other")) }
        try await node.unpublish(volume, pod: "writer")
        try await node.unpublish(volume, pod: "reader")
        #expect(try await harness.catalog.head(volume.volume).value.newest?.number == 2)

        let other = try await harness.node("b")
        let onB = try await other.publish(volume, fileSystem: fileSystem)
        #expect(FileManager.default.contents(atPath: "\(onB)/file") == Data("two".utf8))
        try await other.unpublish(volume)
    }

    @Test func whatAPodReadsIsNotExchangedUnderIt() async throws {
        let harness = try await NodeHarness()
        let volume = try await harness.volume("overtaken")
        let a = try await harness.node("a")
        let b = try await harness.node("b")
        try await a.publish(volume)
        try await a.unpublish(volume)
        // Nobody attaches here, so a reader holds no lease, and the volume goes on elsewhere.
        let reader = try await a.publish(volume, pod: "reader", readOnly: true)
        let onB = try await b.publish(volume)
        try Data("newer".utf8).write(to: URL(fileURLWithPath: "\(onB)/file"))
        try await b.unpublish(volume)

        let error = await #expect(throws: PerSSDError.self) { try await a.publish(volume, pod: "writer") }
        #expect(error?.code == .failedPrecondition && error?.description.contains("generation 1") == true)
        #expect(!FileManager.default.fileExists(atPath: "\(reader)/file"))
        #expect(FileManager.default.fileExists(atPath: "\(reader)/lost+found"))
        try await a.unpublish(volume, pod: "reader")
        let writer = try await a.publish(volume, pod: "writer")
        #expect(FileManager.default.contents(atPath: "\(writer)/file") == Data("newer".utf8))
        try await a.unpublish(volume, pod: "writer")
    }

    @Test func cleanCopiesGiveWayToWhatIsNeeded() async throws {
        let harness = try await NodeHarness()
        let a = try await harness.node("a", poolSize: 160 << 20)
        var volumes: [VolumeRecord] = []
        for index in 0..<4 {
            let volume = try await harness.volume("evicted \(index)")
            let path = try await a.publish(volume)
            try Data("volume \(index)".utf8).write(to: URL(fileURLWithPath: "\(path)/name"))
            try await a.unpublish(volume)
            volumes.append(volume)
        }
        for (index, volume) in volumes.enumerated() {
            let path = try await a.publish(volume)
            #expect(FileManager.default.contents(atPath: "\(path)/name") == Data("volume \(index)".utf8))
            try await a.unpublish(volume)
        }
    }

    @Test func aPoolThatIsFullOfUseRefusesWithTheSizes() async throws {
        let harness = try await NodeHarness()
        let a = try await harness.node("a", poolSize: 100 << 20)
        let first = try await harness.volume("first")
        let second = try await harness.volume("second")
        try await a.publish(first, pod: "one")
        let error = await #expect(throws: PerSSDError.self) { try await a.publish(second, pod: "two") }
        #expect(error?.code == .resourceExhausted)
        #expect(error?.description.contains("64.0 MiB") == true)
        try await a.unpublish(first, pod: "one")
        try await a.publish(second, pod: "two")
        try await a.unpublish(second, pod: "two")
    }
}
