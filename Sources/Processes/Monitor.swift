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
    /// Throws, with the reason, where only a new process would help.
    typealias Life = @Sendable () async throws -> Void

    private let registry: PrometheusRegistry
    /// From the beginning, as a start may take its time: a pool may have to be repaired, a store be slow to answer.
    private let server: MonitoringServer
    private let probes: Probes

    private final class Probes: Sendable {
        let readiness = Mutex<Readiness?>(nil)
        let life = Mutex<Life?>(nil)
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
        let probes = Probes()
        let server = try await MonitoringServer.listen(
            host: host, port: port,
            paths: [
                "/metrics": {
                    MonitoringAnswer(
                        isWell: true, contentType: PrometheusRegistry.contentType, body: await registry.exposition())
                },
                "/healthz": { await answer(probes.life.withLock { $0 }) },
                "/readyz": { await answer(probes.readiness.withLock { $0 }) },
            ], logger: logger)
        registry.bootstrap()
        registry.add { [Instruments.buildInfo.sample(1, version)] }
        let bound = RPCAddress.tcp(host: host, port: server.port)
        logger.info("metrics are served", metadata: ["endpoint": "\(bound)"])
        return Monitor(registry, probes, server)
    }

    private init(_ registry: PrometheusRegistry, _ probes: Probes, _ server: MonitoringServer) {
        (self.registry, self.probes, self.server) = (registry, probes, server)
    }

    /// - Parameters:
    ///   - readiness: as it says.
    ///   - life: as it says.
    ///   - measurements: looked up whenever the metrics are asked for.
    func watch(
        readiness: @escaping Readiness, life: @escaping Life,
        measurements: @escaping @Sendable () async -> [MetricSample]
    ) {
        probes.readiness.withLock { $0 = readiness }
        probes.life.withLock { $0 = life }
        registry.add(measurements)
    }

    /// Goes on to serve until the process is told to end.
    public func run() async throws {
        await cancelWhenGracefulShutdown { [server] in await server.run() }
    }

    private static func answer(_ readiness: Readiness?) async -> MonitoringAnswer {
        guard let readiness else { return MonitoringAnswer(isWell: false, text: "the plugin is starting") }
        return await answer(readiness)
    }

    private static func answer(_ life: Life?) async -> MonitoringAnswer {
        await answer {
            try await life?()
            return "ok"
        }
    }

    private static func answer(_ examine: Readiness) async -> MonitoringAnswer {
        do {
            return MonitoringAnswer(isWell: true, text: try await examine())
        } catch {
            return MonitoringAnswer(isWell: false, text: PerSSDError(wrapping: error).description)
        }
    }
}
