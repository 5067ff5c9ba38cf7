import CoreMetrics
import Synchronization

/// Keeps what the process measures, and tells it to Prometheus.
///
/// Series are made when they are first used, and those of metrics without labels at once, so that a rate has a zero to begin
/// at. Only what is declared is kept: what another library measures under names of its own goes nowhere.
public final class PrometheusRegistry: MetricsFactory {
    private let definitions: [MetricDefinition]
    private let byName: [String: MetricDefinition]
    private let families: Mutex<[String: [[String]: Series]]>
    private let sources = Mutex<[@Sendable () async -> [MetricSample]]>([])

    /// - Parameter definitions: each with a name of its own; they are told in this order.
    public init(_ definitions: [MetricDefinition]) {
        self.definitions = definitions
        byName = Dictionary(uniqueKeysWithValues: definitions.map { ($0.name, $0) })
        var families: [String: [[String]: Series]] = [:]
        for definition in definitions where definition.labels.isEmpty && definition.kind != .gauge {
            families[definition.name] = [[]: Series(definition.kind)]
        }
        self.families = Mutex(families)
    }

    /// Makes this what all instruments of the process report to. Once in a process's life.
    public func bootstrap() { MetricsSystem.bootstrap(self) }

    /// Instruments that are used in `body`, and in what it awaits, report to this.
    public func observing<Value>(_ body: () async throws -> Value) async rethrows -> Value {
        try await withMetricsFactory(self, body)
    }

    /// - Parameter source: asked whenever the metrics are; it must be quick, and ask nobody outside of the machine.
    public func add(_ source: @escaping @Sendable () async -> [MetricSample]) {
        sources.withLock { $0.append(source) }
    }

    /// Everything in Prometheus' text format 0.0.4.
    public func exposition() async -> String {
        var computed: [String: [[String]: Series.Value]] = [:]
        for source in sources.withLock({ $0 }) {
            for sample in await source() where byName[sample.name]?.labels.count == sample.values.count {
                computed[sample.name, default: [:]][sample.values] = .number(sample.value)
            }
        }
        let families = families.withLock { $0 }
        var text = TextFormat()
        for definition in definitions {
            var values = families[definition.name]?.mapValues(\.value) ?? [:]
            values.merge(computed[definition.name] ?? [:]) { _, new in new }
            text.write(definition, values)
        }
        return text.text
    }

    // MARK: MetricsFactory

    private func series(_ name: String, _ dimensions: [(String, String)]) -> Series? {
        guard let definition = byName[name], definition.labels == dimensions.map(\.0) else { return nil }
        let values = dimensions.map(\.1)
        return families.withLock { families in
            if let known = families[name]?[values] { return known }
            let new = Series(definition.kind)
            families[name, default: [:]][values] = new
            return new
        }
    }

    private func remove(_ handler: AnyObject) {
        families.withLock { families in
            for (name, family) in families {
                guard let values = family.first(where: { $0.value === handler })?.key else { continue }
                families[name]?[values] = nil
            }
        }
    }

    public func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        series(label, dimensions) ?? NOOPMetricsHandler.instance
    }

    public func makeFloatingPointCounter(
        label: String, dimensions: [(String, String)]
    ) -> any FloatingPointCounterHandler {
        series(label, dimensions) ?? NOOPMetricsHandler.instance
    }

    public func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
        series(label, dimensions) ?? NOOPMetricsHandler.instance
    }

    public func makeRecorder(
        label: String, dimensions: [(String, String)], aggregate: Bool
    ) -> any RecorderHandler {
        series(label, dimensions) ?? NOOPMetricsHandler.instance
    }

    public func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        series(label, dimensions) ?? NOOPMetricsHandler.instance
    }

    public func destroyCounter(_ handler: any CounterHandler) { remove(handler) }
    public func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) { remove(handler) }
    public func destroyMeter(_ handler: any MeterHandler) { remove(handler) }
    public func destroyRecorder(_ handler: any RecorderHandler) { remove(handler) }
    public func destroyTimer(_ handler: any TimerHandler) { remove(handler) }
}
