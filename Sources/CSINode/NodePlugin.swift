import CSI
import CSIRules
import Errors
import Foundation
import LocalVolumes
import Logging
import Persistence
import RPC

/// The node plugin: what kubelet calls on the node where a volume's pod runs.
public final class NodePlugin: Sendable {
    let node: NodeReference
    let catalog: Catalog
    let pool: any VolumePool
    let publisher: Publisher
    let volumes: NodeVolumes
    let version: String
    let logger: Logger
    private let reporter: NodeReporter
    let health: PluginHealth
    let storeWatch: StoreWatch

    /// - Parameters:
    ///   - version: as GetPluginInfo tells it.
    ///   - concurrentTransfers: stage-outs and restores at once, each within 256 MiB of memory.
    ///   - reportInterval: how often this node's record is written, at the least.
    public init(
        node: NodeReference, catalog: Catalog, pool: any VolumePool, publisher: Publisher, version: String,
        concurrentTransfers: Int = 2, reportInterval: Duration = .seconds(30), logger: Logger
    ) {
        self.node = node
        self.catalog = catalog
        self.pool = pool
        self.publisher = publisher
        self.version = version
        self.logger = logger
        let reporter = NodeReporter(node: node, catalog: catalog, interval: reportInterval, logger: logger)
        self.reporter = reporter
        health = PluginHealth {
            try await catalog.store.check()
            try await pool.check()
        }
        storeWatch = StoreWatch(location: catalog.store.location) { try await catalog.store.check() }
        volumes = NodeVolumes(
            node: node, catalog: catalog, pool: pool, publisher: publisher, concurrentTransfers: concurrentTransfers,
            logger: logger, poolChanged: { reporter.poolChanged() })
    }

    /// Takes up what an earlier process left, and tells the bucket of this node. To be called once, before serving.
    public func start() async throws {
        try await volumes.recover()
        try await reporter.report([try await volumes.poolReport()])
    }

    /// Keeps this node's record fresh until the task is cancelled.
    public func run() async {
        await reporter.run { [volumes] in [try await volumes.poolReport()] }
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
