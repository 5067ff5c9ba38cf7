import Agents
import ArgumentParser
import CSINode
import Errors
import Foundation
import LocalVolumes
import NodeControl
import Persistence
import Processes
import RPC
import Settings
import SystemPackage
import Units

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
        let (plugin, missing) = try await plugin(process)
        let settings = process.settings
        let agent = try AgentServer(
            catalog: plugin.catalog, cluster: settings.cluster,
            listen: settings.agentListen ?? .tcp(host: LocalAddress.discover(), port: 0), logger: process.logger,
            duties: NodeDuties(
                deliver: { try await plugin.deliver($0, until: $1) }, reread: { id, _ in try await plugin.reread(id) },
                handOver: { id, _ in try await plugin.handOver(id) },
                cutGroup: { try await plugin.cutGroup($0, of: $1, $2, until: $3) }))
        let control = try ControlServer(
            at: .unix(path: settings.controlSocket), logger: process.logger, flush: { await plugin.flush(until: $0) })
        try await process.run(
            [
                process.onceStarted(BackgroundService { await plugin.run() }),
                BackgroundService { await agent.run(gracePeriod: RPCService.gracePeriod) },
                BackgroundService { await control.run(gracePeriod: RPCService.gracePeriod) },
                RPCService(
                    plugin.methods(observer: CallLog(logger: process.logger, store: process.store)),
                    on: process.settings.endpoint, of: process),
                process.onceStarted(PoolSearch(for: missing, settings: settings.pools, logger: process.logger)),
                // The first to end: pods are unpublished while it works.
                process.onceStarted(
                    TerminationFlush(
                        plugin: plugin, limit: settings.flushOnTermination, file: settings.terminationLog,
                        logger: process.logger)),
            ],
            lastWork: settings.flushOnTermination,
            start: {
                try await plugin.start(agent: try await agent.start(published: settings.agentAddress))
                do {
                    try await control.start()
                } catch {
                    throw PerSSDError(wrapping: error, during: "cannot serve control calls (--control-socket)")
                }
            },
            readiness: {
                try await plugin.requireReady()
                return plugin.readinessText
            }, measurements: { await plugin.measurements() })
    }

    private func plugin(_ process: ServiceProcess) async throws -> (NodePlugin, [MissingPool]) {
        let settings = process.settings
        var pools: [any VolumePool] = []
        var missing: [MissingPool] = []
        for pool in settings.pools {
            do {
                pools.append(try await PoolOpening.open(pool, logger: process.logger))
            } catch let error as PerSSDError where error.code == .poolMissing {
                process.logger.error(
                    """
                    the node does without the pool '\(pool.name)', and no volume of it can be used here: \(error). It is \
                    looked for again every \(PoolSearch.pause.text)
                    """)
                missing.append(MissingPool(name: pool.name, reason: error))
            }
        }
        let plugin = try NodePlugin(
            node: try NodeReference(cluster: settings.cluster, node: settings.nodeID),
            catalog: process.catalog, pools: pools, missingPools: missing,
            publisher: try await Publisher(
                stateDirectory: FilePath(settings.stateDirectory),
                allowedRoot: settings.targetDirectory.map { FilePath($0) }, logger: process.logger),
            version: version, maximumVolumes: settings.maximumVolumes,
            concurrentTransfers: settings.parallelTransfers, stageOutBandwidth: settings.stageOutBandwidth,
            registrationSocket: settings.registrationSocket.map { FilePath($0) },
            events: process.events.sink, logger: process.logger)
        return (plugin, missing)
    }
}

@main struct Main {
    static func main() async {
        exit(await runToEnd(PerssdNode.self))
    }
}
