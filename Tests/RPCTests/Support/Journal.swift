import Synchronization

/// What happened in handlers, for tests that wait for it.
final class Journal: Sendable {
    private let state = Mutex((events: [String](), records: [String]()))

    func note(_ event: String) { state.withLock { $0.events.append(event) } }

    var events: [String] { state.withLock { $0.events } }

    func count(of event: String) -> Int { events.count { $0 == event } }

    /// Whether the event is noted, as often as wanted, before the time is over.
    func has(_ event: String, times: Int = 1, within time: Duration = .seconds(10)) async -> Bool {
        await becomesTrue(within: time) { self.count(of: event) >= times }
    }
}

/// Looks again and again until it is so, or the time is over.
func becomesTrue(within time: Duration = .seconds(10), _ condition: @Sendable () -> Bool) async -> Bool {
    let end = ContinuousClock.now + time
    while !condition() {
        if ContinuousClock.now > end { return false }
        try? await Task.sleep(for: .milliseconds(5))
    }
    return true
}
