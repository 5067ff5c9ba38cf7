import Synchronization

/// What happened in handlers, for tests that wait for it.
final class Journal: Sendable {
    private let noted = Mutex([String]())

    func note(_ event: String) { noted.withLock { $0.append(event) } }

    var events: [String] { noted.withLock { $0 } }

    func count(of event: String) -> Int { events.count { $0 == event } }

    /// Whether the event is noted, as often as wanted, before the time is over.
    func has(_ event: String, times: Int = 1, within time: Duration = .seconds(60)) async -> Bool {
        await becomesTrue(within: time) { self.count(of: event) >= times }
    }
}

/// Looks again and again until it is so, or the time is over.
func becomesTrue(within time: Duration = .seconds(60), _ condition: @Sendable () -> Bool) async -> Bool {
    let end = ContinuousClock.now + time
    while !condition() {
        if ContinuousClock.now > end { return false }
        try? await Task.sleep(for: .milliseconds(5))
    }
    return true
}

/// Lets nobody pass until as many as it is for have come.
final class Barrier: Sendable {
    private let count: Int
    private let waiting = Mutex([CheckedContinuation<Void, Never>]())

    init(_ count: Int) { self.count = count }

    /// Does not heed cancellation.
    func pass() async {
        await withCheckedContinuation { continuation in
            let all = waiting.withLock { waiting in
                waiting.append(continuation)
                return waiting.count == count ? waiting : []
            }
            for continuation in all { continuation.resume() }
        }
    }
}
