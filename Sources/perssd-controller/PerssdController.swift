import Agents
import ArgumentParser
import CSIController
import Foundation
import Persistence
import Processes
import Settings

/// The controller plugin's process: what the CSI sidecars call, once in a cluster. It keeps no state of its own.
struct PerssdController: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "perssd-controller",
        abstract: "Serves the CSI identity and controller services of csi.perssd.io.",
        discussion: "Ends in order at SIGTERM and SIGINT. Exit codes are those of perssd.",
        version: version)

    @OptionGroup var options: ServiceOptions

    mutating func run() async throws {
        let process = try await ServiceProcess.start("perssd-controller", .controller, options)
        let catalog = process.catalog
        let agents = try AgentClients(catalog: catalog)
        let presence = ControllerPresence(
            catalog: catalog, cluster: process.settings.cluster, certificate: agents.certificate, logger: process.logger
        )
        let plugin = try ControllerPlugin(
            catalog: catalog, cluster: process.settings.cluster, version: version, agents: agents,
            events: process.events.sink, logger: process.logger)
        let collection = process.settings.collectionInterval.map {
            PeriodicCollection(
                catalog: catalog, interval: $0, grace: process.settings.collectionGrace, logger: process.logger)
        }
        let background =
            [BackgroundService { await presence.run() }]
            + (collection.map { collection in [BackgroundService { await collection.run() }] } ?? [])
        let service = RPCService(
            plugin.methods(observer: CallLog(logger: process.logger, store: process.store)),
            on: process.settings.endpoint, of: process)
        try await process.run(
            background.map { process.onceStarted($0) } + [service],
            start: { try await presence.start() },
            readiness: {
                try await plugin.requireReady()
                return "ready"
            })
    }
}

@main struct Main {
    static func main() async {
        exit(await runToEnd(PerssdController.self))
    }
}
