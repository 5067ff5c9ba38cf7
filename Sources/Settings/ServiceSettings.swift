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
    /// How many volumes a node stages out or restores at the same time.
    public var parallelTransfers: Int
    /// How much all stage-outs of a node together may send, in bytes a second; nil for no limit.
    public var stageOutBandwidth: UInt64?
    /// Where a node's control service listens; an absolute path.
    public var controlSocket: String
    /// For how long SIGTERM makes a node flush its volumes before it ends; zero for not at all.
    public var flushOnTermination: Duration
    /// Which file gets what such a flush did and did not save; an absolute path.
    public var terminationLog: String
    /// The socket of the node's registrar, in kubelet's directory of plugins; nil where it is not known. An absolute path.
    public var registrationSocket: String?
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
    static let defaultParallelTransfers = 2
    /// Each takes 256 MiB of memory.
    static let parallelTransfers = 1...16
    /// A pod that ends has an hour at the most that makes sense.
    static let flushTimes: ClosedRange<Duration> = .zero ... .seconds(3600)
    /// Where kubelet looks for a container's last words, unless it is told otherwise.
    static let defaultTerminationLog = "/dev/termination-log"
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
        parallelTransfers =
            try values[.parallelTransfers]?.number(in: Self.parallelTransfers) ?? Self.defaultParallelTransfers
        stageOutBandwidth = try values[.stageOutBandwidth].flatMap { try Self.bandwidth($0) }
        controlSocket = try values[.controlSocket]?.absolutePath() ?? stateDirectory + "/control.sock"
        flushOnTermination = try values[.flushOnTermination].map { try Self.flushTime($0) } ?? .zero
        terminationLog = try values[.terminationLog]?.absolutePath() ?? Self.defaultTerminationLog
        registrationSocket = try values[.registrationSocket]?.absolutePath()
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

    private static func flushTime(_ given: Given) throws -> Duration {
        guard let duration = Duration(parsing: given.text), flushTimes.contains(duration) else {
            throw PerSSDError(
                .invalidArgument, "\(given.source): '\(given.text.prefix(100))' is not what is needed",
                remedy: "give a duration from 0s to 1h, such as 110s")
        }
        return duration
    }

    private static func bandwidth(_ given: Given) throws -> UInt64? {
        do {
            return try VolumeParameters(parsing: ["stageOutBandwidth": given.text]).stageOutBandwidth
        } catch {
            throw PerSSDError(
                .invalidArgument, "\(given.source): '\(given.text.prefix(100))' is not what is needed",
                remedy: "give bytes a second from 1Mi to 1Ti, such as 500Mi, or 'none'")
        }
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
