import Agents
import ArgumentParser
import CSINode
import Errors
import Foundation
import LocalVolumes
import Persistence
import Processes
import RPC
import Settings
import SystemPackage

/// The node plugin's process: what kubelet calls on every node.
struct PerssdNode: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "perssd-node",
        abstract: "Serves the CSI identity and node services of csi.perssd.io on this node.",
        discussion: "Ends in order at SIGTERM and SIGINT. Exit codes are those of perssd.",
        version: version)

    @OptionGroup var options: ServiceOptions

    mutating func run() async throws {
        let process = try await ServiceProcess.start("perssd-node", .node, options)
        let plugin = try await plugin(process)
        let settings = process.settings
        let agent = try AgentServer(
            catalog: plugin.catalog, cluster: settings.cluster,
            listen: settings.agentListen ?? .tcp(host: LocalAddress.discover(), port: 0), logger: process.logger,
            duties: NodeDuties(
                deliver: { try await plugin.deliver($0, until: $1) }, reread: { id, _ in try await plugin.reread(id) },
                handOver: { id, _ in try await plugin.handOver(id) },
                cutGroup: { try await plugin.cutGroup($0, of: $1, $2, until: $3) }))
        try await plugin.start(agent: try await agent.start(published: settings.agentAddress))
        try await process.run(
            [
                BackgroundService { await plugin.run() },
                BackgroundService { await agent.run(gracePeriod: RPCService.gracePeriod) },
                RPCService(
                    plugin.methods(observer: CallLog(logger: process.logger, store: process.store)),
                    on: process.settings.endpoint, logger: process.logger),
            ],
            readiness: { try await plugin.requireReady() }, measurements: { await plugin.measurements() })
    }

    private func plugin(_ process: ServiceProcess) async throws -> NodePlugin {
        let settings = process.settings
        var pools: [any VolumePool] = []
        for pool in settings.pools {
            pools.append(try await PoolOpening.open(pool, logger: process.logger))
        }
        return try NodePlugin(
            node: try NodeReference(cluster: settings.cluster, node: settings.nodeID),
            catalog: Catalog(store: process.store),
            pools: pools,
            publisher: try await Publisher(
                stateDirectory: FilePath(settings.stateDirectory),
                allowedRoot: settings.targetDirectory.map { FilePath($0) }, logger: process.logger),
            version: version, maximumVolumes: settings.maximumVolumes, events: process.events.sink,
            logger: process.logger)
    }
}

@main struct Main {
    static func main() async {
        exit(await runToEnd(PerssdNode.self))
    }
}
