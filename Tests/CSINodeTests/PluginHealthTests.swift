import CSIRules
import Errors
import Synchronization
import Testing

@Suite struct PluginHealthTests {
    private final class Counter: Sendable {
        let count = Mutex(0)
    }

    @Test(.timeLimit(.minutes(1)))
    func anExaminationOutlivesTheCallerThatBeganIt() async throws {
        let begun = Counter()
        let (gate, opener) = AsyncStream<Void>.makeStream()
        let (starts, starter) = AsyncStream<Void>.makeStream()
        let health = PluginHealth {
            begun.count.withLock { $0 += 1 }
            starter.yield()
            for await _ in gate { break }
            throw PerSSDError(.unavailable, "the pool is gone")
        }
        let impatient = Task { try await health.check() }
        for await _ in starts { break }
        impatient.cancel()
        let patient = Task { try await health.check() }
        // A second examination would begin about now.
        try await Task.sleep(for: .milliseconds(100))
        opener.yield()
        // Each gets the answer, and so does who asks a little later.
        for caller in [impatient, patient, Task { try await health.check() }] {
            guard case .failure(let error as PerSSDError) = await caller.result else {
                Issue.record("the failure is not told")
                continue
            }
            #expect(error.code == .unavailable)
        }
        #expect(begun.count.withLock { $0 } == 1)
    }
}
