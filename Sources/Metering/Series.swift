import CoreMetrics
import Synchronization

/// The numbers behind one metric and one set of label values.
final class Series: CounterHandler, FloatingPointCounterHandler, MeterHandler, RecorderHandler, TimerHandler {
    enum Value: Sendable, Equatable {
        case number(Double)
        /// Observations at most each bucket and above the one before it; the last are above all buckets.
        case observations(counts: [UInt64], sum: Double)
    }

    private let kind: MetricDefinition.Kind
    private let state: Mutex<Value>

    init(_ kind: MetricDefinition.Kind) {
        self.kind = kind
        state = Mutex(Self.nothing(of: kind))
    }

    private static func nothing(of kind: MetricDefinition.Kind) -> Value {
        switch kind {
        case .counter, .gauge: .number(0)
        case .histogram(let buckets): .observations(counts: Array(repeating: 0, count: buckets.count + 1), sum: 0)
        }
    }

    var value: Value { state.withLock { $0 } }

    func reset() { state.withLock { $0 = Self.nothing(of: kind) } }

    func increment(by amount: Int64) { increment(by: Double(amount)) }

    func increment(by amount: Double) {
        // A counter that shrinks would be taken for a process that was restarted.
        guard amount.isFinite, amount >= 0 || kind == .gauge else { return }
        state.withLock { if case .number(let before) = $0 { $0 = .number(before + amount) } }
    }

    func decrement(by amount: Double) { increment(by: -amount) }

    func set(_ value: Int64) { set(Double(value)) }

    func set(_ value: Double) {
        guard kind == .gauge else { return }
        state.withLock { $0 = .number(value) }
    }

    func record(_ value: Int64) { record(Double(value)) }

    func record(_ value: Double) {
        guard case .histogram(let buckets) = kind else { return set(value) }
        guard value.isFinite else { return }
        let index = buckets.firstIndex { value <= $0 } ?? buckets.count
        state.withLock {
            guard case .observations(var counts, let sum) = $0 else { return }
            counts[index] += 1
            $0 = .observations(counts: counts, sum: sum + value)
        }
    }

    func recordNanoseconds(_ duration: Int64) { record(Double(duration) / 1_000_000_000) }
}
