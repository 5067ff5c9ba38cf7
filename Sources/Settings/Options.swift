import ArgumentParser
import Errors
import Foundation

/// The options that say which store, for every command that needs one.
public struct StoreOptions: ParsableArguments, Sendable {
    @Option(
        name: .customLong("store"),
        help: ArgumentHelp(
            "Where volumes live: s3://BUCKET/PREFIX or file:///SHARED/DIRECTORY.",
            discussion: "Environment: PERSSD_STORE.", valueName: "url"))
    var storeLocation: String?

    @Option(
        help: ArgumentHelp(
            "The S3 server, such as https://s3.example.org:9000 (default: AWS in the region).",
            discussion: "Environment: PERSSD_STORE_ENDPOINT, AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL.",
            valueName: "url"))
    var storeEndpoint: String?

    @Option(
        help: ArgumentHelp(
            "The S3 region (default: us-east-1).",
            discussion: "Environment: PERSSD_STORE_REGION, AWS_REGION or AWS_DEFAULT_REGION.", valueName: "region"))
    var storeRegion: String?

    @Option(
        help: ArgumentHelp(
            "How the bucket stands in an address: path, virtualHost or automatic (the default).",
            discussion: "Environment: PERSSD_STORE_ADDRESSING.", valueName: "kind"))
    var storeAddressing: String?

    @Option(
        help: ArgumentHelp(
            "A PEM file of the authorities to trust in place of the system's.",
            discussion: "Environment: PERSSD_STORE_CERTIFICATE_AUTHORITIES or AWS_CA_BUNDLE.", valueName: "file"),
        completion: .file())
    var storeCertificateAuthorities: String?

    @Option(
        help: ArgumentHelp(
            "A directory with the files AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, such as a mounted Secret.",
            discussion: "Environment: PERSSD_STORE_CREDENTIALS_DIRECTORY.", valueName: "directory"),
        completion: .directory)
    var storeCredentialsDirectory: String?

    @Option(
        help: ArgumentHelp(
            "The profile of the shared credentials file to take the S3 credentials from.",
            discussion: "Environment: PERSSD_STORE_PROFILE.", valueName: "name"))
    var storeProfile: String?

    @Option(
        help: ArgumentHelp(
            "How many requests to the store run at the same time.",
            discussion: "Environment: PERSSD_STORE_PARALLEL_REQUESTS.", valueName: "count"))
    var storeParallelRequests: String?

    @Option(
        name: .customLong("config"),
        help: ArgumentHelp(
            "A YAML file with any of the settings; options and environment win over it.",
            discussion: "Environment: PERSSD_CONFIG.", valueName: "file"),
        completion: .file())
    var configurationFile: String?

    public init() {}

    var values: [Setting: String?] {
        [
            .storeLocation: storeLocation, .storeEndpoint: storeEndpoint, .storeRegion: storeRegion,
            .storeAddressing: storeAddressing, .storeCertificateAuthorities: storeCertificateAuthorities,
            .storeCredentialsDirectory: storeCredentialsDirectory, .storeProfile: storeProfile,
            .storeParallelRequests: storeParallelRequests,
        ]
    }

    /// - Throws: `invalidArgument` as `StoreLocation` and the like; what reading the configuration file throws.
    public func settings(environment: [String: String] = ProcessInfo.processInfo.environment) throws -> StoreSettings {
        try StoreSettings(layers(values, pools: [], environment: environment).values)
    }

    /// The options over the environment over the configuration file.
    func layers(
        _ options: [Setting: String?], pools: [String], environment: [String: String]
    ) throws -> SettingsLayer {
        var layer = SettingsLayer()
        for (setting, value) in options {
            if let value { layer.values[setting] = Given(value, from: "option \(setting.option)") }
        }
        layer.pools = try pools.map { try PoolSettings(parsing: Given($0, from: "option --pool")) }
        layer = layer.over(try SettingsLayer(environment: environment))
        if let path = configurationFile ?? environment[SettingsLayer.configurationVariable], !path.isEmpty {
            layer = layer.over(try ConfigurationFile.read(path))
        }
        return layer
    }
}

/// The options of `perssd-controller` and `perssd-node`, which are started alike.
public struct ServiceOptions: ParsableArguments, Sendable {
    @Option(
        help: ArgumentHelp(
            "Where to listen: unix:///path/of/csi.sock or tcp://host:port.",
            discussion: "Environment: PERSSD_ENDPOINT or CSI_ENDPOINT.", valueName: "address"))
    var endpoint: String?

    @Option(
        name: .customLong("node-id"),
        help: ArgumentHelp(
            "This machine's name in its cluster (default: the host name).",
            discussion: "Environment: PERSSD_NODE_ID or NODE_ID.", valueName: "name"))
    var nodeID: String?

    @Option(
        help: ArgumentHelp(
            "The cluster's name, for stores that several clusters share (default: default).",
            discussion: "Environment: PERSSD_CLUSTER.", valueName: "name"))
    var cluster: String?

    @Option(
        name: .customLong("pool"),
        help: ArgumentHelp(
            "A pool for local copies: directory=/PATH[,size=100GiB][,name=NAME], or volumeGroup=NAME[,drives=all][,create=true].",
            discussion: "Only perssd-node uses it. Environment: PERSSD_POOL, for one pool.", valueName: "pool"))
    var pools: [String] = []

    @Option(
        help: ArgumentHelp(
            "Where a node keeps its mount points (default: /var/lib/perssd).",
            discussion: "Environment: PERSSD_STATE_DIRECTORY.", valueName: "directory"),
        completion: .directory)
    var stateDirectory: String?

    @Option(
        help: ArgumentHelp(
            "Publish volumes only below this directory, such as /var/lib/kubelet (default: anywhere).",
            discussion: "Environment: PERSSD_TARGET_DIRECTORY.", valueName: "directory"),
        completion: .directory)
    var targetDirectory: String?

    @Option(
        help: ArgumentHelp(
            "How many volumes a node stages out or restores at the same time: 1 to 16 (default: 2).",
            discussion: "Only perssd-node uses it. Environment: PERSSD_PARALLEL_TRANSFERS.", valueName: "count"))
    var parallelTransfers: String?

    @Option(
        help: ArgumentHelp(
            "How much all stage-outs of the node together may send in a second, such as 500Mi (default: no limit).",
            discussion: "Only perssd-node uses it. Environment: PERSSD_STAGE_OUT_BANDWIDTH.", valueName: "bytes"))
    var stageOutBandwidth: String?

    @Option(
        help: ArgumentHelp(
            "The socket where 'perssd flush' reaches the node plugin (default: control.sock in the state directory).",
            discussion: "Only perssd-node uses it, and only root may. Environment: PERSSD_CONTROL_SOCKET.",
            valueName: "file"),
        completion: .file())
    var controlSocket: String?

    @Option(
        help: ArgumentHelp(
            "For how long SIGTERM makes the plugin flush the node's volumes before it ends: 0s (the default) to 1h.",
            discussion: "Only perssd-node uses it. Environment: PERSSD_FLUSH_ON_TERMINATION.", valueName: "duration"))
    var flushOnTermination: String?

    @Option(
        help: ArgumentHelp(
            "A file, if it is there, that gets what such a flush did and did not save (default: /dev/termination-log).",
            discussion: "Only perssd-node uses it. Environment: PERSSD_TERMINATION_LOG.", valueName: "file"),
        completion: .file())
    var terminationLog: String?

    @Option(
        help: ArgumentHelp(
            "The socket of kubelet's registrar, which is removed where kubelet has to hear of other pools.",
            discussion: "Only perssd-node uses it. Environment: PERSSD_REGISTRATION_SOCKET.", valueName: "file"),
        completion: .file())
    var registrationSocket: String?

    @Option(
        help: ArgumentHelp(
            "Where the node's agent listens for the controller: host:port (default: the machine's address, a free port).",
            discussion: "Only perssd-node uses it. Environment: PERSSD_AGENT_LISTEN.", valueName: "address"))
    var agentListen: String?

    @Option(
        help: ArgumentHelp(
            "Where the controller reaches the node's agent, where that is not where it listens: host:port.",
            discussion: "Only perssd-node uses it. Environment: PERSSD_AGENT_ADDRESS.", valueName: "address"))
    var agentAddress: String?

    @Option(
        help: ArgumentHelp(
            "How often the controller collects garbage in the store: 1m to 720h, or never (default: 24h).",
            discussion: "Only perssd-controller uses it. Environment: PERSSD_COLLECTION_INTERVAL.",
            valueName: "duration"))
    var collectionInterval: String?

    @Option(
        help: ArgumentHelp(
            "How long what nobody needs stays, once that was noticed: 1m to 720h (default: 24h).",
            discussion: "Only perssd-controller uses it. Environment: PERSSD_COLLECTION_GRACE.", valueName: "duration"))
    var collectionGrace: String?

    @Option(
        help: ArgumentHelp(
            "How many volumes may be published on the node at once (default: 0, as many as its pools have room for).",
            discussion: "Only perssd-node uses it. Environment: PERSSD_MAXIMUM_VOLUMES.", valueName: "count"))
    var maximumVolumes: String?

    @OptionGroup(title: "Store")
    public var store: StoreOptions

    @OptionGroup(title: "Kubernetes")
    var kubernetes: KubernetesOptions

    @Option(
        help: ArgumentHelp(
            "Where to answer /metrics, /healthz and /readyz over HTTP: an IP address and a port (default: nowhere).",
            discussion: "Environment: PERSSD_METRICS_LISTEN.", valueName: "address"))
    var metricsListen: String?

    @Option(
        help: ArgumentHelp(
            "What to log: trace, debug, info (the default), notice, warning, error or critical.",
            discussion: "Environment: PERSSD_LOG_LEVEL.", valueName: "level"))
    var logLevel: String?

    @Option(
        help: ArgumentHelp(
            "How to log: text (the default) or json, one object a line.", discussion: "Environment: PERSSD_LOG_FORMAT.",
            valueName: "format"))
    var logFormat: String?

    public init() {}

    var values: [Setting: String?] {
        let own: [Setting: String?] = [
            .endpoint: endpoint, .nodeID: nodeID, .cluster: cluster, .stateDirectory: stateDirectory,
            .targetDirectory: targetDirectory, .maximumVolumes: maximumVolumes, .parallelTransfers: parallelTransfers,
            .stageOutBandwidth: stageOutBandwidth, .controlSocket: controlSocket, .terminationLog: terminationLog,
            .flushOnTermination: flushOnTermination, .registrationSocket: registrationSocket, .agentListen: agentListen,
            .agentAddress: agentAddress, .collectionInterval: collectionInterval,
            .collectionGrace: collectionGrace, .metricsListen: metricsListen, .logLevel: logLevel,
            .logFormat: logFormat,
        ]
        return own.merging(store.values) { mine, _ in mine }.merging(kubernetes.values) { mine, _ in mine }
    }

    /// - Throws: `invalidArgument` for a setting that cannot be; what reading the configuration file throws.
    public func settings(
        environment: [String: String] = ProcessInfo.processInfo.environment
    ) throws -> ServiceSettings {
        try ServiceSettings(store.layers(values, pools: pools, environment: environment))
    }
}
