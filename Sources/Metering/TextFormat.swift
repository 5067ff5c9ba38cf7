/// Prometheus' text format, version 0.0.4.
struct TextFormat {
    /// What an HTTP answer calls it.
    static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    private(set) var text = ""

    /// Writes a metric with all of its series; nothing where it has none.
    ///
    /// - Parameter series: by the values of their labels.
    mutating func write(_ definition: MetricDefinition, _ series: [[String]: Series.Value]) {
        guard !series.isEmpty else { return }
        let name = definition.name
        text += "# HELP \(name) \(Self.escaped(definition.help, quotes: false))\n"
        text += "# TYPE \(name) \(definition.kind.name)\n"
        for (values, value) in series.sorted(by: { $0.key.lexicographicallyPrecedes($1.key) }) {
            let labels = Array(zip(definition.labels, values))
            switch value {
            case .number(let number): line(name, labels, Self.text(of: number))
            case .observations(let counts, let sum):
                guard case .histogram(let buckets) = definition.kind else { continue }
                var total: UInt64 = 0
                for (count, bound) in zip(counts, buckets + [.infinity]) {
                    total += count
                    line("\(name)_bucket", labels + [("le", Self.text(of: bound))], "\(total)")
                }
                line("\(name)_sum", labels, Self.text(of: sum))
                line("\(name)_count", labels, "\(total)")
            }
        }
    }

    private mutating func line(_ name: String, _ labels: [(String, String)], _ value: String) {
        let list = labels.map { "\($0.0)=\"\(Self.escaped($0.1, quotes: true))\"" }.joined(separator: ",")
        text += labels.isEmpty ? "\(name) \(value)\n" : "\(name){\(list)} \(value)\n"
    }

    /// - Parameter quotes: whether it is to stand in quotes.
    static func escaped(_ text: String, quotes: Bool) -> String {
        var result = ""
        // By scalars: a line feed can be a part of a character that is none.
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\"" where quotes: result += "\\\""
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }

    /// As Go reads it.
    static func text(of number: Double) -> String {
        if number.isNaN { return "NaN" }
        if number.isInfinite { return number < 0 ? "-Inf" : "+Inf" }
        // Up to here every whole number is itself.
        if number == number.rounded(), abs(number) < 9_007_199_254_740_992 { return "\(Int64(number))" }
        return "\(number)"
    }
}

extension MetricDefinition.Kind {
    var name: String {
        switch self {
        case .counter: "counter"
        case .gauge: "gauge"
        case .histogram: "histogram"
        }
    }
}

extension PrometheusRegistry {
    /// The media type of `exposition`.
    public static let contentType = TextFormat.contentType
}
