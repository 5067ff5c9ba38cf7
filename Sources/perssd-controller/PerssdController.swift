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
        let process = try await ServiceProcess.start("perssd-controller", options)
        let plugin = try ControllerPlugin(
            catalog: Catalog(store: process.store), cluster: process.settings.cluster, version: version,
            logger: process.logger)
        try await process.run([
            RPCService(
                plugin.methods(observer: CallLog(logger: process.logger, store: process.store)),
                on: process.settings.endpoint, logger: process.logger)
        ])
    }
}

@main struct Main {
    static func main() async {
        exit(await runToEnd(PerssdController.self))
    }
}
