import Errors
import Foundation
import Persistence
import RPC
import Units

/// All that a process of PerSSD is told, checked.
public struct ServiceSettings: Sendable {
    /// Where the CSI services listen.
    public var endpoint: RPCAddress
    public var nodeID: String
    public var cluster: String
    /// Where a node keeps what is neither in a pool nor in the store, such as mount points; an absolute path.
    public var stateDirectory: String
    /// Below which a node publishes volumes; nil for anywhere. An absolute path.
    public var targetDirectory: String?
    /// How many volumes the orchestrator may have published on the node at once; 0 for as many as it likes.
    public var maximumVolumes: Int
    /// Where a node's agent listens; nil for a free port of the machine's own address.
    public var agentListen: RPCAddress?
    /// Where the controller reaches it, where that is not where it listens.
    public var agentAddress: RPCAddress?
    /// How often a controller collects garbage; nil for never.
    public var collectionInterval: Duration?
    /// How long what nobody needs stays after a collection has noticed that.
    public var collectionGrace: Duration
    /// Where metrics and probes are answered over HTTP, always a TCP address; nil for nowhere.
    public var metricsListen: RPCAddress?
    public var kubernetes: KubernetesSettings
    public var store: StoreSettings
    public var pools: [PoolSettings]
    public var log: LogSettings

    public static let defaultCluster = "default"
    public static let defaultStateDirectory = "/var/lib/perssd"
    /// The metadata of a volume group that PerSSD made hold some 5000 volumes, with a cut and a base each.
    static let mostVolumes = 4096
    static let defaultCollectionInterval = Duration.seconds(86_400)

    /// - Parameter layer: all layers, the highest over the others.
    /// - Throws: `invalidArgument` that says which setting, where it was given, and what to give.
    public init(_ layer: SettingsLayer) throws {
        let values = layer.values
        guard let endpoint = values[.endpoint] else {
            throw PerSSDError(
                .invalidArgument, "no endpoint is given",
                remedy: "give --endpoint unix:///path/of/csi.sock, or the environment variable CSI_ENDPOINT")
        }
        do {
            self.endpoint = try RPCAddress(endpoint.text)
        } catch {
            throw error.during("\(endpoint.source) cannot be used")
        }
        nodeID = try Self.name(values[.nodeID], default: ProcessInfo.processInfo.hostName)
        cluster = try Self.name(values[.cluster], default: Self.defaultCluster)
        stateDirectory = try values[.stateDirectory]?.absolutePath() ?? Self.defaultStateDirectory
        targetDirectory = try values[.targetDirectory]?.absolutePath()
        maximumVolumes = try values[.maximumVolumes]?.number(in: 0...Self.mostVolumes) ?? 0
        agentListen = try values[.agentListen].map { try Self.port($0) }
        agentAddress = try values[.agentAddress].map { try Self.port($0) }
        collectionInterval =
            switch values[.collectionInterval] {
            case nil: Self.defaultCollectionInterval
            case .some(let given) where given.text == "never": nil
            case .some(let given): try Self.collectionTime(given, orElse: ", or never")
            }
        collectionGrace =
            try values[.collectionGrace].map { try Self.collectionTime($0) } ?? GarbageCollection.Options.defaultGrace
        metricsListen = try values[.metricsListen].map { try Self.port($0) }
        kubernetes = try KubernetesSettings(values)
        store = try StoreSettings(values)
        pools = layer.pools
        log = try LogSettings(values)
        for (index, pool) in pools.enumerated() {
            for other in pools[..<index] {
                guard other.name != pool.name else {
                    throw PerSSDError(
                        .invalidArgument, "two pools have the name '\(pool.name)'",
                        remedy: "give each pool a name of its own")
                }
                guard let shared = Self.shared(other, pool) else { continue }
                throw PerSSDError(
                    .invalidArgument, "the pools '\(other.name)' and '\(pool.name)' share \(shared)",
                    remedy: "give each pool a directory, or a volume group and drives, of its own")
            }
        }
    }

    private static func collectionTime(_ given: Given, orElse: String = "") throws -> Duration {
        guard let duration = Duration(parsing: given.text), GarbageCollection.Options.graces.contains(duration) else {
            throw PerSSDError(
                .invalidArgument, "\(given.source): '\(given.text.prefix(100))' is not what is needed",
                remedy: "give a duration from 1m to 720h, such as 24h\(orElse)")
        }
        return duration
    }

    private static func port(_ given: Given) throws -> RPCAddress {
        let address: RPCAddress
        do {
            address = try RPCAddress(given.text)
        } catch {
            throw error.during("\(given.source) cannot be used")
        }
        guard case .tcp = address else {
            throw PerSSDError(
                .invalidArgument, "\(given.source): '\(given.text.prefix(100))' is no TCP address",
                remedy: "give host:port")
        }
        return address
    }

    /// What two pools both want and only one can have.
    private static func shared(_ first: PoolSettings, _ second: PoolSettings) -> String? {
        if let directory = first.directory, directory == second.directory { return directory }
        guard let group = first.volumeGroup, let other = second.volumeGroup else { return nil }
        if group.name == other.name { return "the volume group '\(group.name)'" }
        return group.drives.paths.first { other.drives.paths.contains($0) }.map { "the drive \($0)" }
    }

    /// What object names and the CSI specification (NodeGetInfo: 256 bytes) allow.
    private static func name(_ given: Given?, default standard: String) throws -> String {
        let given = given ?? Given(standard, from: "the machine's host name")
        let isValid = given.text.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
                true
            default: false
            }
        }
        guard isValid, (1...253).contains(given.text.utf8.count), given.text != ".", given.text != ".." else {
            throw PerSSDError(
                .invalidArgument, "\(given.source): '\(given.text.prefix(100))' is no name",
                remedy: "use 1 to 253 letters, digits, '-', '_' and '.'")
        }
        return given.text
    }
}
