import CoreMetrics

/// A metric as Prometheus sees it: its name, what it means, and the labels of its series.
public struct MetricDefinition: Sendable, Hashable {
    public enum Kind: Sendable, Hashable {
        /// Only grows, while the process lives.
        case counter
        case gauge
        /// How many observations were at most each of `buckets`, which ascend.
        case histogram(buckets: [Double])
    }

    /// The processes that have metrics.
    public enum Plugin: Sendable, Hashable, CaseIterable { case node, controller }

    /// With the unit, in base units: seconds, bytes.
    public var name: String
    public var kind: Kind
    /// One sentence for whoever sees the name on a dashboard.
    public var help: String
    /// Their values are of small sets, or of what a node has published.
    public var labels: [String]
    public var plugins: Set<Plugin>

    init(
        _ name: String, _ kind: Kind, _ help: String, labels: [String] = [], of plugins: Set<Plugin> = [.node]
    ) {
        (self.name, self.kind, self.help, self.labels, self.plugins) = (name, kind, help, labels, plugins)
    }

    func dimensions(_ values: [String]) -> [(String, String)] {
        precondition(values.count == labels.count, "\(name) has the labels \(labels), and not \(values)")
        return Array(zip(labels, values))
    }
}

/// Counts what has happened. Costs nothing but a lookup where the process has no metrics.
public struct CounterInstrument: Sendable {
    public let definition: MetricDefinition

    /// - Parameter values: of the labels, in the definition's order.
    public func add(_ amount: UInt64 = 1, _ values: String...) {
        Counter(label: definition.name, dimensions: definition.dimensions(values)).increment(
            by: Int64(clamping: amount))
    }

    /// A count that somebody else keeps, looked up whenever the metrics are asked for.
    public func sample(_ value: Double) -> MetricSample {
        MetricSample(name: definition.name, values: [], value: value)
    }
}

/// Observes how long something took.
public struct DurationInstrument: Sendable {
    public let definition: MetricDefinition

    /// - Parameter values: of the labels, in the definition's order.
    public func observe(_ duration: Duration, _ values: String...) {
        let (seconds, attoseconds) = duration.components
        let (product, overflows) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        let nanoseconds =
            overflows ? Int64.max : product.addingReportingOverflow(attoseconds / 1_000_000_000).partialValue
        Timer(label: definition.name, dimensions: definition.dimensions(values)).recordNanoseconds(max(0, nanoseconds))
    }
}

/// A value that is looked up whenever somebody asks; its series are there as long as there is something to tell.
public struct GaugeInstrument: Sendable {
    public let definition: MetricDefinition

    /// - Parameter values: of the labels, in the definition's order.
    public func sample(_ value: Double, _ values: String...) -> MetricSample {
        precondition(values.count == definition.labels.count, "\(definition.name) has the labels \(definition.labels)")
        return MetricSample(name: definition.name, values: values, value: value)
    }
}

/// One value that was looked up.
public struct MetricSample: Sendable, Hashable {
    public var name: String
    /// Of the labels, in the definition's order.
    public var values: [String]
    public var value: Double
}
