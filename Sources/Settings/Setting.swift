import Units

/// One setting of PerSSD, and the three places it can be given: an option wins over the environment, the environment
/// over the configuration file.
public enum Setting: String, CaseIterable, Sendable {
    case endpoint
    case nodeID
    case cluster
    case stateDirectory
    case targetDirectory
    case maximumVolumes
    case parallelTransfers
    case stageOutBandwidth
    case controlSocket
    case terminationLog
    case registrationSocket
    case flushOnTermination
    case agentListen
    case agentAddress
    case collectionInterval
    case collectionGrace
    case storeLocation
    case storeEndpoint
    case storeRegion
    case storeAddressing
    case storeCertificateAuthorities
    case storeCredentialsDirectory
    case storeProfile
    case storeParallelRequests
    case events
    case kubernetesAPIServer
    case kubernetesTokenFile
    case kubernetesCertificateAuthorities
    case metricsListen
    case logLevel
    case logFormat

    /// The key in the configuration file, with the sections it stands in: "store.region".
    public var keyPath: String {
        switch self {
        case .endpoint: "endpoint"
        case .nodeID: "nodeID"
        case .cluster: "cluster"
        case .stateDirectory: "stateDirectory"
        case .targetDirectory: "targetDirectory"
        case .maximumVolumes: "maximumVolumes"
        case .parallelTransfers: "transfers.parallel"
        case .stageOutBandwidth: "transfers.stageOutBandwidth"
        case .controlSocket: "controlSocket"
        case .terminationLog: "termination.log"
        case .registrationSocket: "registrationSocket"
        case .flushOnTermination: "termination.flush"
        case .agentListen: "agent.listen"
        case .agentAddress: "agent.address"
        case .collectionInterval: "collection.interval"
        case .collectionGrace: "collection.grace"
        case .storeLocation: "store.location"
        case .storeEndpoint: "store.endpoint"
        case .storeRegion: "store.region"
        case .storeAddressing: "store.addressing"
        case .storeCertificateAuthorities: "store.certificateAuthorities"
        case .storeCredentialsDirectory: "store.credentialsDirectory"
        case .storeProfile: "store.profile"
        case .storeParallelRequests: "store.parallelRequests"
        case .events: "kubernetes.events"
        case .kubernetesAPIServer: "kubernetes.apiServer"
        case .kubernetesTokenFile: "kubernetes.tokenFile"
        case .kubernetesCertificateAuthorities: "kubernetes.certificateAuthorities"
        case .metricsListen: "metrics.listen"
        case .logLevel: "log.level"
        case .logFormat: "log.format"
        }
    }

    /// The option, with its dashes.
    public var option: String {
        switch self {
        case .endpoint: "--endpoint"
        case .nodeID: "--node-id"
        case .cluster: "--cluster"
        case .stateDirectory: "--state-directory"
        case .targetDirectory: "--target-directory"
        case .maximumVolumes: "--maximum-volumes"
        case .parallelTransfers: "--parallel-transfers"
        case .stageOutBandwidth: "--stage-out-bandwidth"
        case .controlSocket: "--control-socket"
        case .terminationLog: "--termination-log"
        case .registrationSocket: "--registration-socket"
        case .flushOnTermination: "--flush-on-termination"
        case .agentListen: "--agent-listen"
        case .agentAddress: "--agent-address"
        case .collectionInterval: "--collection-interval"
        case .collectionGrace: "--collection-grace"
        case .storeLocation: "--store"
        case .storeEndpoint: "--store-endpoint"
        case .storeRegion: "--store-region"
        case .storeAddressing: "--store-addressing"
        case .storeCertificateAuthorities: "--store-certificate-authorities"
        case .storeCredentialsDirectory: "--store-credentials-directory"
        case .storeProfile: "--store-profile"
        case .storeParallelRequests: "--store-parallel-requests"
        case .events: "--events"
        case .kubernetesAPIServer: "--kubernetes-api-server"
        case .kubernetesTokenFile: "--kubernetes-token-file"
        case .kubernetesCertificateAuthorities: "--kubernetes-certificate-authorities"
        case .metricsListen: "--metrics-listen"
        case .logLevel: "--log-level"
        case .logFormat: "--log-format"
        }
    }

    /// The environment's variables, of which the first that is set counts: PerSSD's own, then those that other programs
    /// read, too.
    public var variables: [String] {
        switch self {
        case .endpoint: ["PERSSD_ENDPOINT", "CSI_ENDPOINT"]
        case .nodeID: ["PERSSD_NODE_ID", "NODE_ID"]
        case .cluster: ["PERSSD_CLUSTER"]
        case .stateDirectory: ["PERSSD_STATE_DIRECTORY"]
        case .targetDirectory: ["PERSSD_TARGET_DIRECTORY"]
        case .maximumVolumes: ["PERSSD_MAXIMUM_VOLUMES"]
        case .parallelTransfers: ["PERSSD_PARALLEL_TRANSFERS"]
        case .stageOutBandwidth: ["PERSSD_STAGE_OUT_BANDWIDTH"]
        case .controlSocket: ["PERSSD_CONTROL_SOCKET"]
        case .terminationLog: ["PERSSD_TERMINATION_LOG"]
        case .registrationSocket: ["PERSSD_REGISTRATION_SOCKET"]
        case .flushOnTermination: ["PERSSD_FLUSH_ON_TERMINATION"]
        case .agentListen: ["PERSSD_AGENT_LISTEN"]
        case .agentAddress: ["PERSSD_AGENT_ADDRESS"]
        case .collectionInterval: ["PERSSD_COLLECTION_INTERVAL"]
        case .collectionGrace: ["PERSSD_COLLECTION_GRACE"]
        case .storeLocation: ["PERSSD_STORE"]
        case .storeEndpoint: ["PERSSD_STORE_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]
        case .storeRegion: ["PERSSD_STORE_REGION", "AWS_REGION", "AWS_DEFAULT_REGION"]
        case .storeAddressing: ["PERSSD_STORE_ADDRESSING"]
        case .storeCertificateAuthorities: ["PERSSD_STORE_CERTIFICATE_AUTHORITIES", "AWS_CA_BUNDLE"]
        case .storeCredentialsDirectory: ["PERSSD_STORE_CREDENTIALS_DIRECTORY"]
        case .storeProfile: ["PERSSD_STORE_PROFILE"]
        case .storeParallelRequests: ["PERSSD_STORE_PARALLEL_REQUESTS"]
        case .events: ["PERSSD_EVENTS"]
        case .kubernetesAPIServer: ["PERSSD_KUBERNETES_API_SERVER"]
        case .kubernetesTokenFile: ["PERSSD_KUBERNETES_TOKEN_FILE"]
        case .kubernetesCertificateAuthorities: ["PERSSD_KUBERNETES_CERTIFICATE_AUTHORITIES"]
        case .metricsListen: ["PERSSD_METRICS_LISTEN"]
        case .logLevel: ["PERSSD_LOG_LEVEL"]
        case .logFormat: ["PERSSD_LOG_FORMAT"]
        }
    }
}

/// What a setting was given as, and where, so that an error can name the place.
public struct Given: Sendable, Equatable {
    public var text: String
    /// "option --store", "environment variable PERSSD_STORE", "/etc/perssd.yaml:3: store.location".
    public var source: String

    public init(_ text: String, from source: String) { (self.text, self.source) = (text, source) }
}

/// What one place says: the command line, the environment or the configuration file.
public struct SettingsLayer: Sendable, Equatable {
    public var values: [Setting: Given]
    /// Empty where the place names none; pools are not merged, a higher layer's replace a lower one's.
    public var pools: [PoolSettings]

    public init(values: [Setting: Given] = [:], pools: [PoolSettings] = []) {
        (self.values, self.pools) = (values, pools)
    }

    /// This layer, with `lower` where this one says nothing.
    public func over(_ lower: SettingsLayer) -> SettingsLayer {
        SettingsLayer(
            values: values.merging(lower.values) { mine, _ in mine }, pools: pools.isEmpty ? lower.pools : pools)
    }

    /// The variables that PerSSD knows. One that is set to nothing counts as not set, as YAML templates often do that.
    public init(environment: [String: String]) throws {
        self.init()
        for setting in Setting.allCases {
            for name in setting.variables {
                guard values[setting] == nil, let text = environment[name], !text.isEmpty else { continue }
                values[setting] = Given(text, from: "environment variable \(name)")
            }
        }
        if let text = environment[Self.poolVariable], !text.isEmpty {
            pools = [try PoolSettings(parsing: Given(text, from: "environment variable \(Self.poolVariable)"))]
        }
    }

    public static let poolVariable = "PERSSD_POOL"
    public static let configurationVariable = "PERSSD_CONFIG"
}
