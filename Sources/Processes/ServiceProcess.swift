import Errors
import Logging
import Persistence
import ServiceLifecycle
import Settings

/// The frame of `perssd-controller` and `perssd-node`: settings, logging, the store, and an orderly end.
public struct ServiceProcess: Sendable {
    public let settings: ServiceSettings
    public let logger: Logger
    public let store: MeteredStore

    /// Reads the settings, sets up logging, and opens the store and proves that it can be used.
    ///
    /// - Parameter name: "perssd-node".
    public static func start(_ name: String, _ options: ServiceOptions) async throws -> ServiceProcess {
        let settings = try options.settings()
        settings.log.bootstrap()
        var logger = Logger(label: name)
        logger[metadataKey: "node"] = "\(settings.nodeID)"
        logger.info(
            "starting",
            metadata: [
                "version": "\(version)", "cluster": "\(settings.cluster)", "store": "\(settings.store.location)",
            ])
        do {
            let store = try await openProvenStore(settings.store)
            logger.info("the store honours conditional writes", metadata: ["store": "\(store.location)"])
            return ServiceProcess(settings: settings, logger: logger, store: store)
        } catch {
            throw PerSSDError(wrapping: error, during: "cannot use the store \(settings.store.location)")
        }
    }

    /// Runs the services until SIGTERM or SIGINT, then ends them in reverse order.
    public func run(_ services: [any Service]) async throws {
        let configurations = services.map {
            ServiceGroupConfiguration.ServiceConfiguration(
                service: $0, successTerminationBehavior: .gracefullyShutdownGroup,
                failureTerminationBehavior: .cancelGroup)
        }
        var configuration = ServiceGroupConfiguration(
            services: configurations, gracefulShutdownSignals: [.sigterm, .sigint], logger: logger)
        configuration.maximumGracefulShutdownDuration = RPCService.gracePeriod + .seconds(8)
        try await ServiceGroup(configuration: configuration).run()
        logger.info("ended")
    }
}
