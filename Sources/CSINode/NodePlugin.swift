import CSI
import CSIRules
import Errors
import Foundation
import LocalVolumes
import Logging
import Persistence
import RPC
import SystemPackage
import VolumeEvents

/// The node plugin: what kubelet calls on the node where a volume's pod runs.
public final class NodePlugin: Sendable {
    let node: NodeReference
    public let catalog: Catalog
    let pools: NodePools
    let publisher: Publisher
    let volumes: NodeVolumes
    let ephemerals: EphemeralVolumes
    let environment: NodeEnvironment
    let version: String
    let maximumVolumes: Int
    let logger: Logger
    let reporter: NodeReporter
    let health: PluginHealth
    let storeWatch: StoreWatch
    let poolWatch: PoolWatch
    let checkpoints: Checkpoints
    let recordWatch: RecordWatch
    let groupCuts: GroupCuts
    let concurrentTransfers: Int
    let registration: Registration

    /// - Parameters:
    ///   - pools: each with a name of its own.
    ///   - missingPools: those that the node does without until a later start finds them.
    ///   - version: as GetPluginInfo tells it.
    ///   - maximumVolumes: how many the orchestrator may have published here at once, as NodeGetInfo tells it; 0 for as many
    ///     as it likes. Here nothing is refused for it.
    ///   - concurrentTransfers: stage-outs and restores at once, each within 256 MiB of memory.
    ///   - stageOutBandwidth: what all stage-outs together may send, in bytes a second; nil for as much as there is.
    ///   - reportInterval: how often this node's record is written, at the least.
    ///   - watchInterval: how often is looked whether the pools have room for what is written.
    ///   - recordInterval: how often the records of volumes in use are read again.
    ///   - registrationSocket: kubelet's registrar's, in kubelet's directory for it; nil where nobody knows.
    ///   - events: where users of volumes hear of them.
    /// - Throws: `invalidArgument` for no pool, or two of one name.
    public init(
        node: NodeReference, catalog: Catalog, pools: [any VolumePool], missingPools: [MissingPool] = [],
        publisher: Publisher, version: String,
        maximumVolumes: Int = 0, concurrentTransfers: Int = 2, stageOutBandwidth: UInt64? = nil,
        reportInterval: Duration = .seconds(30), watchInterval: Duration = .seconds(10),
        recordInterval: Duration = .seconds(60), registrationSocket: FilePath? = nil, events: EventSink = .none,
        logger: Logger
    ) throws {
        let pools = try NodePools(pools, missing: missingPools)
        self.node = node
        self.catalog = catalog
        self.pools = pools
        self.publisher = publisher
        self.version = version
        self.maximumVolumes = maximumVolumes
        self.concurrentTransfers = concurrentTransfers
        self.logger = logger
        var topology = [Driver.TopologyKey.node: node.node]
        for pool in pools.all { topology[Driver.TopologyKey.pool(pool.name)] = Driver.TopologyKey.poolValue }
        registration = Registration(
            info: Registration.Info(nodeID: node.node, maximumVolumes: maximumVolumes, topology: topology),
            file: publisher.stateDirectory.appending("registration.json"), socket: registrationSocket, logger: logger)
        let reporter = NodeReporter(node: node, catalog: catalog, interval: reportInterval, logger: logger)
        self.reporter = reporter
        health = PluginHealth {
            try await catalog.store.check()
            try await pools.check()
        }
        storeWatch = StoreWatch(location: catalog.store.location) { try await catalog.store.check() }
        var environment = NodeEnvironment(
            node: node, catalog: catalog, home: HomeStore(file: publisher.stateDirectory.appending("store.json")),
            pools: pools, publisher: publisher, fileSystems: FileSystems(),
            useFiles: VolumeUseFiles(directory: publisher.stateDirectory.appending("uses")), logger: logger,
            transfers: Permits(concurrentTransfers), pacer: Pacer(bytesPerSecond: stageOutBandwidth),
            makeRoom: { _, _ in }, poolChanged: { reporter.poolChanged() })
        environment.events = events
        let volumes = NodeVolumes(environment: environment)
        self.volumes = volumes
        groupCuts = GroupCuts(node: node, catalog: catalog, volumes: volumes)
        recordWatch = RecordWatch(volumes: volumes, interval: recordInterval, logger: logger)
        environment.makeRoom = { try await volumes.makeRoom($0, in: $1) }
        ephemerals = EphemeralVolumes(environment: environment)
        self.environment = environment
        checkpoints = Checkpoints(volumes: volumes, pause: .seconds(2), logger: logger)
        poolWatch = PoolWatch(
            pools: pools, interval: watchInterval, logger: logger, changed: { reporter.poolChanged() },
            relieve: { try await volumes.relieve($0) })
    }

    /// Takes up what an earlier process left, and tells the bucket of this node. To be called once, before serving.
    ///
    /// - Parameter agent: where the controller reaches this node; nil for nowhere.
    /// - Throws: `failedPrecondition` where local copies hold work that belongs to another store.
    public func start(agent: NodeRecord.Agent? = nil) async throws {
        let found = try await environment.recover()
        let dirty = found.map(\.copy.record).filter { $0.use != .ephemeral && $0.state == .dirty }
        try await environment.home.settle(on: catalog.store, dirty: dirty.map(\.volume))
        try await ephemerals.recover(found.filter { $0.copy.record.use == .ephemeral })
        try await volumes.recover(found.filter { $0.copy.record.use != .ephemeral })
        await reporter.announce(agent)
        try await reporter.report(try await volumes.poolReports())
    }

    /// Keeps this node's record fresh, its pools from filling up, and kubelet informed, until the task is cancelled.
    public func run() async {
        async let watching: Void = poolWatch.run()
        async let checkpointing: Void = checkpoints.run()
        async let rereading: Void = recordWatch.run()
        async let registering: Void = registration.run()
        await reporter.run { [volumes] in try await volumes.poolReports() }
        _ = await (watching, checkpointing, rereading, registering)
    }

    /// Does what a snapshot's record asks of this node: cuts the volume and commits that. Returns when the cut is made; the
    /// record tells of it, and of the generation once there is one.
    ///
    /// - Throws: `failedPrecondition` where the record asks another node.
    public func deliver(_ id: SnapshotID, until deadline: ContinuousClock.Instant) async throws {
        let snapshot = try await catalog.snapshot(id)
        guard let delivery = snapshot.delivery else { return }
        guard delivery.node == node else {
            throw PerSSDError(
                .failedPrecondition, "snapshot \(id) waits for node \(delivery.node), and this is node \(node)")
        }
        try await volumes.deliver(id, of: snapshot.volume, until: deadline)
    }

    /// Takes up what has changed in a volume's record.
    public func reread(_ id: VolumeID) async throws { try await volumes.refreshRecord(of: id) }

    /// Begins to commit what was written here of a volume that no pod has any more, or puts on record that it is lost: somebody
    /// else waits for the lease.
    ///
    /// - Throws: `unavailable` before the plugin has started.
    public func handOver(_ id: VolumeID) async throws { try await volumes.handOver(id) }

    /// Takes one step of this node's part in a group snapshot, as the group's record says.
    ///
    /// - Parameter incarnation: which try to make the group is meant.
    public func cutGroup(
        _ step: GroupCutStep, of group: GroupSnapshotID, _ incarnation: Incarnation,
        until deadline: ContinuousClock.Instant
    ) async throws {
        try await groupCuts.take(step, of: group, incarnation, until: deadline)
    }

    /// The identity and node services, for a server.
    ///
    /// - Parameter observer: is told of every call.
    public func methods(observer: (any CallObserver)? = nil) -> [RPCMethod] {
        identityMethods(self, observer: observer) + nodeMethods(self, observer: observer)
    }

    /// Until when a call waits: shortly before its caller gives up, so that the caller hears how far the work is.
    func patience(_ context: RPCContext) -> ContinuousClock.Instant {
        let now = ContinuousClock.now
        guard let deadline = context.deadline else { return now + .seconds(110) }
        let left = deadline - now
        return deadline - min(.seconds(5), left / 10)
    }
}
