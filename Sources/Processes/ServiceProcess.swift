import CSI
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
    /// What happens to volumes is told there.
    public let events: EventPosting
    private let monitor: Monitor?
    let startup: Startup

    /// Reads the settings, sets up logging and metrics, and opens the store. Nothing is asked of the store before `run`.
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
        let startup = Startup(location: "\(settings.store.location)", logger: logger)
        do {
            let store = MeteredStore(try await openStore(settings.store))
            let clocks = ClockWatch(clock: StoreClock(), store: store, logger: logger)
            return ServiceProcess(
                settings: settings, logger: logger, store: store,
                catalog: Catalog(store: store, now: { [clock = clocks.clock] in clock.now }), clocks: clocks,
                events: EventPosting(
                    settings.kubernetes, reporter: Driver.name, instance: settings.nodeID, logger: logger),
                monitor: monitor, startup: startup)
        } catch {
            throw PerSSDError(wrapping: error, during: "cannot use the store \(settings.store.location)")
        }
    }

    /// A service that begins when `run` has started the plugin, and not at all where the process is told to end before.
    public func onceStarted(_ service: any Service) -> any Service {
        StartedService(startup: startup, service: service)
    }

    private func proveStore() async throws {
        try await Settings.proveStore(store)
        logger.info("the store honours conditional writes", metadata: ["store": "\(store.location)"])
        try await clocks.look()
    }

    /// Waits until the store can be used, starts the plugin, and runs the services until SIGTERM or SIGINT, then ends them in
    /// reverse order.
    ///
    /// - Parameters:
    ///   - services: run from the beginning, but for those that are to be `onceStarted`.
    ///   - lastWork: how long the last of the services may work on before the others begin to end.
    ///   - start: what needs the store, before calls are served.
    ///   - readiness: says what works; throws, with the reason, where the plugin cannot work.
    ///   - measurements: of the plugin, looked up whenever the metrics are asked for.
    /// - Throws: what lasts of what is wrong with the store; what `start` and the services throw.
    public func run(
        _ services: [any Service], lastWork: Duration = .zero, start: @escaping @Sendable () async throws -> Void,
        readiness: @escaping Monitor.Readiness,
        measurements: @escaping @Sendable () async -> [MetricSample] = { [] }
    ) async throws {
        monitor?.watch(
            readiness: { [startup] in
                try startup.requireStarted()
                return try await readiness()
            },
            life: { [startup] in try await startup.requireAnswers() },
            measurements: { [store, startup] in
                [Instruments.storeRetries.sample(Double(store.statistics.retries))]
                    + (startup.isStarted ? await measurements() : [])
            })
        // First, and so the last to end: an orderly end can be watched, too, and what happens in it is told.
        let watch = BackgroundService { [clocks] in await clocks.run() }
        // And the other way round: what is not over by the time the process is told to end is cut short before all else.
        let beginning = StartupService(startup: startup, prove: { try await proveStore() }, start: start)
        let services = (monitor.map { [$0] } ?? []) + [events, watch] + services + [beginning]
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
