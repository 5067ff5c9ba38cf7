import Agents
import CSI
import CSIRules
import Errors
import Logging
import Persistence
import RPC
import VolumeEvents

/// The controller plugin: CSI's Identity, Controller, GroupController and SnapshotMetadata services on top of the catalog.
///
/// It keeps no state of its own but a short memory of the last probe, so any number of them may serve the same bucket, and
/// each may be killed at any time.
public final class ControllerPlugin: IdentityService, ControllerService {
    let catalog: Catalog
    /// The cluster whose nodes this controller attaches volumes to; other clusters may use the same bucket.
    let cluster: String
    let version: String
    let logger: Logger
    let agents: any NodeAgents
    /// Where users of volumes hear of them.
    let events: EventSink
    let health: PluginHealth

    /// - Parameters:
    ///   - version: of the plugin, for GetPluginInfo.
    ///   - events: where users of volumes hear of them.
    /// - Throws: `invalidArgument` where the cluster's name has characters that an object's name cannot have.
    public init(
        catalog: Catalog, cluster: String, version: String, agents: any NodeAgents = NoNodeAgents(),
        events: EventSink = .none, logger: Logger
    ) throws {
        _ = try NodeReference(cluster: cluster, node: "any")
        self.catalog = catalog
        self.cluster = cluster
        self.version = version
        self.agents = agents
        self.events = events
        self.logger = logger
        health = PluginHealth { try await catalog.store.check() }
    }

    /// The methods of all services, for an RPC server.
    public func methods(observer: (any CallObserver)? = nil) -> [RPCMethod] {
        identityMethods(self, observer: observer) + controllerMethods(self, observer: observer)
            + groupControllerMethods(self, observer: observer)
            + snapshotMetadataMethods(
                SnapshotMetadataPlugin(source: CatalogGenerations(catalog: catalog)), observer: observer)
    }

    /// - Returns: nil where no node can have this name.
    func nodeReference(_ name: String) -> NodeReference? { try? NodeReference(cluster: cluster, node: name) }
}
