import CoreMetrics
import Foundation
import Synchronization
import Testing

@testable import Metering

/// What Prometheus is told, to the letter.
@Suite struct ExpositionTests {
    private let requests = CounterInstrument(
        definition: MetricDefinition("test_requests_total", .counter, "Requests.", labels: ["kind"]))
    private let bytes = CounterInstrument(definition: MetricDefinition("test_bytes_total", .counter, "Bytes."))
    private let time = DurationInstrument(
        definition: MetricDefinition("test_seconds", .histogram(buckets: [0.125, 1]), "Time.", labels: ["kind"]))
    private let level = GaugeInstrument(
        definition: MetricDefinition("test_level", .gauge, "A level\nof \\ two \"lines\".", labels: ["name"]))
    private let registry: PrometheusRegistry

    init() {
        registry = PrometheusRegistry([requests.definition, bytes.definition, time.definition, level.definition])
    }

    /// The lines about one metric.
    private func lines(_ name: String) async -> [String] {
        await registry.exposition().split(separator: "\n").map(String.init).filter { $0.contains(name) }
    }

    @Test func countersAreToldWithTheirLabels() async {
        await registry.observing {
            requests.add(2, "b")
            requests.add(1, "a")
            requests.add(3, "b")
        }
        #expect(
            await lines("test_requests") == [
                "# HELP test_requests_total Requests.", "# TYPE test_requests_total counter",
                #"test_requests_total{kind="a"} 1"#, #"test_requests_total{kind="b"} 5"#,
            ])
    }

    @Test func whatHasNoLabelsIsThereFromTheBeginning() async {
        #expect(
            await registry.exposition() == """
                # HELP test_bytes_total Bytes.
                # TYPE test_bytes_total counter
                test_bytes_total 0

                """)
    }

    @Test func histogramsAddUp() async {
        await registry.observing {
            for milliseconds in [125, 125, 250, 1000, 5000] { time.observe(.milliseconds(milliseconds), "a") }
        }
        #expect(
            await lines("test_seconds") == [
                "# HELP test_seconds Time.", "# TYPE test_seconds histogram",
                #"test_seconds_bucket{kind="a",le="0.125"} 2"#, #"test_seconds_bucket{kind="a",le="1"} 4"#,
                #"test_seconds_bucket{kind="a",le="+Inf"} 5"#, #"test_seconds_sum{kind="a"} 6.5"#,
                #"test_seconds_count{kind="a"} 5"#,
            ])
    }

    @Test func gaugesAreLookedUpEachTime() async {
        let now = Counted()
        registry.add { [level] in now.next() == 1 ? [level.sample(1.5, "a \"b\" \\ c\nd")] : [] }
        #expect(
            await lines("test_level") == [
                #"# HELP test_level A level\nof \\ two "lines"."#, "# TYPE test_level gauge",
                #"test_level{name="a \"b\" \\ c\nd"} 1.5"#,
            ])
        #expect(await lines("test_level").isEmpty)
    }

    @Test(arguments: [
        (0, "0"), (-3, "-3"), (1e15, "1000000000000000"), (1e20, "1e+20"), (0.1, "0.1"), (.infinity, "+Inf"),
        (-.infinity, "-Inf"), (.nan, "NaN"),
    ])
    func numbers(value: Double, text: String) { #expect(TextFormat.text(of: value) == text) }

    @Test func aLineFeedAfterACarriageReturnIsEscaped() {
        #expect(TextFormat.escaped("a\r\nb", quotes: true) == "a\r\\nb")
    }

    @Test func nothingIsLostWhereManyCountAtOnce() async {
        await registry.observing {
            await withTaskGroup(of: Void.self) { group in
                for task in 0..<50 {
                    group.addTask {
                        for _ in 0..<200 {
                            requests.add(1, "kind \(task % 5)")
                            bytes.add(3)
                            time.observe(.milliseconds(500), "a")
                        }
                    }
                }
                group.addTask { for _ in 0..<50 { _ = await registry.exposition() } }
            }
        }
        let text = await registry.exposition()
        #expect(text.contains("test_bytes_total 30000\n"))
        for kind in 0..<5 { #expect(text.contains("test_requests_total{kind=\"kind \(kind)\"} 2000\n")) }
        #expect(text.contains("test_seconds_count{kind=\"a\"} 10000\n"))
        #expect(text.contains("test_seconds_sum{kind=\"a\"} 5000\n"))
    }

    @Test func whatNobodyDeclaredGoesNowhere() async {
        await registry.observing {
            Counter(label: "foreign_total", dimensions: [("a", "b")]).increment()
            Counter(label: "test_requests_total", dimensions: [("another", "b")]).increment()
        }
        registry.add { [MetricSample(name: "foreign_level", values: ["a"], value: 1)] }
        let text = await registry.exposition()
        #expect(!text.contains("foreign") && !text.contains("test_requests_total"))
    }

    @Test func aCounterNeverShrinksAndAnInstrumentCanGo() async {
        await registry.observing {
            let counter = Counter(label: "test_requests_total", dimensions: [("kind", "a")])
            counter.increment(by: 5)
            counter.increment(by: -3)
            #expect(await lines("test_requests").contains(#"test_requests_total{kind="a"} 5"#))
            counter.destroy()
        }
        #expect(await lines("test_requests").isEmpty)
    }

    @Test func longTimesAndNegativeOnesAreNoTrouble() async {
        await registry.observing {
            time.observe(.seconds(Int64.max), "long")
            time.observe(.seconds(-1), "short")
        }
        let lines = await lines("test_seconds")
        #expect(lines.contains(#"test_seconds_bucket{kind="long",le="1"} 0"#))
        #expect(lines.contains(#"test_seconds_count{kind="long"} 1"#))
        #expect(lines.contains(#"test_seconds_sum{kind="short"} 0"#))
    }
}

/// Counts how often it is asked.
private final class Counted: Sendable {
    private let counter = Mutex(0)

    func next() -> Int {
        counter.withLock {
            $0 += 1
            return $0
        }
    }
}
