import Errors
import Logging
import Metering
import Monitoring
import RPC
import ServiceLifecycle
import Settings
import Synchronization

/// What Prometheus and probes ask a process over HTTP: `/metrics`, `/healthz`, `/readyz`.
public final class Monitor: Service {
    /// Says what works; throws, with the reason, where the plugin cannot work.
    public typealias Readiness = @Sendable () async throws -> String

    private let registry: PrometheusRegistry
    /// From the beginning, as a start may take its time: a pool may have to be repaired, a store be slow to answer.
    private let server: MonitoringServer
    private let readiness: ReadinessBox

    private final class ReadinessBox: Sendable {
        let examine = Mutex<Readiness?>(nil)
    }

    /// Takes the address, answers there, and measures, all from now on. Once in a process's life.
    ///
    /// - Throws: as `MonitoringServer.listen`.
    static func start(
        on address: RPCAddress, _ plugin: MetricDefinition.Plugin, logger: Logger
    ) async throws -> Monitor {
        guard case .tcp(let host, let port) = address else {
            throw PerSSDError(
                .invalidArgument, "metrics cannot be served at \(address)", remedy: "give --metrics-listen host:port")
        }
        let registry = PrometheusRegistry(Instruments.definitions(of: plugin))
        let readiness = ReadinessBox()
        let server = try await MonitoringServer.listen(
            host: host, port: port,
            paths: [
                "/metrics": {
                    MonitoringAnswer(
                        isWell: true, contentType: PrometheusRegistry.contentType, body: await registry.exposition())
                },
                "/healthz": { MonitoringAnswer(isWell: true, text: "ok") },
                "/readyz": { await answer(readiness.examine.withLock { $0 }) },
            ], logger: logger)
        registry.bootstrap()
        registry.add { [Instruments.buildInfo.sample(1, version)] }
        let bound = RPCAddress.tcp(host: host, port: server.port)
        logger.info("metrics are served", metadata: ["endpoint": "\(bound)"])
        return Monitor(registry, readiness, server)
    }

    private init(_ registry: PrometheusRegistry, _ readiness: ReadinessBox, _ server: MonitoringServer) {
        (self.registry, self.readiness, self.server) = (registry, readiness, server)
    }

    /// - Parameters:
    ///   - readiness: as it says.
    ///   - measurements: looked up whenever the metrics are asked for.
    func watch(_ readiness: @escaping Readiness, _ measurements: @escaping @Sendable () async -> [MetricSample]) {
        self.readiness.examine.withLock { $0 = readiness }
        registry.add(measurements)
    }

    /// Goes on to serve until the process is told to end.
    public func run() async throws {
        await cancelWhenGracefulShutdown { [server] in await server.run() }
    }

    private static func answer(_ readiness: Readiness?) async -> MonitoringAnswer {
        guard let readiness else { return MonitoringAnswer(isWell: false, text: "the plugin is starting") }
        do {
            return MonitoringAnswer(isWell: true, text: try await readiness())
        } catch {
            return MonitoringAnswer(isWell: false, text: PerSSDError(wrapping: error).description)
        }
    }
}
