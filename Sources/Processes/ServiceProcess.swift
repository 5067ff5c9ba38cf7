import Errors
import Logging
import Metering
import Persistence
import ServiceLifecycle
import Settings

/// The frame of `perssd-controller` and `perssd-node`: settings, logging, the store, and an orderly end.
public struct ServiceProcess: Sendable {
    public let settings: ServiceSettings
    public let logger: Logger
    public let store: MeteredStore
    /// The bucket's records, with a time that all who share the bucket agree on.
    public let catalog: Catalog
    private let clocks: ClockWatch
    private let monitor: Monitor?

    /// Reads the settings, sets up logging and metrics, and opens the store and proves that it can be used.
    ///
    /// - Parameters:
    ///   - name: "perssd-node".
    ///   - plugin: whose metrics there are.
    public static func start(
        _ name: String, _ plugin: MetricDefinition.Plugin, _ options: ServiceOptions
    ) async throws -> ServiceProcess {
        let settings = try options.settings()
        let threshold = settings.log.bootstrap()
        var logger = Logger(label: name)
        logger[metadataKey: "node"] = "\(settings.nodeID)"
        await LogLevelSignals(threshold: threshold, logger: logger, options: options).follow()
        logger.info(
            "starting",
            metadata: [
                "version": "\(version)", "cluster": "\(settings.cluster)", "store": "\(settings.store.location)",
            ])
        var monitor: Monitor?
        if let address = settings.metricsListen {
            monitor = try await Monitor.start(on: address, plugin, logger: logger)
        }
        do {
            let store = try await openProvenStore(settings.store)
            logger.info("the store honours conditional writes", metadata: ["store": "\(store.location)"])
            let clocks = ClockWatch(clock: StoreClock(), store: store, logger: logger)
            try await clocks.look()
            return ServiceProcess(
                settings: settings, logger: logger, store: store,
                catalog: Catalog(store: store, now: { [clock = clocks.clock] in clock.now }), clocks: clocks,
                monitor: monitor)
        } catch {
            throw PerSSDError(wrapping: error, during: "cannot use the store \(settings.store.location)")
        }
    }

    /// Runs the services until SIGTERM or SIGINT, then ends them in reverse order.
    ///
    /// - Parameters:
    ///   - lastWork: how long the last of the services may work on before the others begin to end.
    ///   - readiness: says what works; throws, with the reason, where the plugin cannot work.
    ///   - measurements: of the plugin, looked up whenever the metrics are asked for.
    public func run(
        _ services: [any Service], lastWork: Duration = .zero, readiness: @escaping Monitor.Readiness,
        measurements: @escaping @Sendable () async -> [MetricSample] = { [] }
    ) async throws {
        monitor?.watch(readiness) { [store] in
            [Instruments.storeRetries.sample(Double(store.statistics.retries))] + (await measurements())
        }
        // First, and so the last to end: an orderly end can be watched, too.
        let watch = BackgroundService { [clocks] in await clocks.run() }
        let services = (monitor.map { [$0] } ?? []) + [watch] + services
        let configurations = services.map {
            ServiceGroupConfiguration.ServiceConfiguration(
                service: $0, successTerminationBehavior: .gracefullyShutdownGroup,
                failureTerminationBehavior: .cancelGroup)
        }
        var configuration = ServiceGroupConfiguration(
            services: configurations, gracefulShutdownSignals: [.sigterm, .sigint], logger: logger)
        configuration.maximumGracefulShutdownDuration = lastWork + RPCService.gracePeriod + .seconds(8)
        try await ServiceGroup(configuration: configuration).run()
        logger.info("ended")
    }
}
