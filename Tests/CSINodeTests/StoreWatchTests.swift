import Errors
import Synchronization
import Testing

@testable import CSINode

@Suite struct StoreWatchTests {
    private final class Store: Sendable {
        let state = Mutex((calls: 0, failure: PerSSDError?.none))
        let gate = Latch(isOpen: true)

        func check() async throws {
            try await gate.wait()
            if let failure = state.withLock({ state in
                state.calls += 1
                return state.failure
            }) {
                throw failure
            }
        }
        func set(_ failure: PerSSDError?) { state.withLock { $0.failure = failure } }
        var calls: Int { state.withLock { $0.calls } }
    }

    private func watch(_ store: Store, lifetime: Duration) -> StoreWatch {
        StoreWatch(location: "file:///bucket", lifetime: lifetime, patience: .milliseconds(50)) {
            try await store.check()
        }
    }

    @Test func manyQuestionsAreOne() async {
        let store = Store()
        let watch = watch(store, lifetime: .seconds(60))
        await withTaskGroup(of: String?.self) { group in
            for _ in 0..<20 { group.addTask { await watch.problem() } }
            for await problem in group { #expect(problem == nil) }
        }
        #expect(store.calls == 1)
    }

    @Test func tellsWhyAndSinceWhenUntilItIsOver() async throws {
        let store = Store()
        let watch = watch(store, lifetime: .zero)
        store.set(PerSSDError(.unavailable, "nobody is there"))
        let first = try #require(await watch.problem())
        #expect(first.contains("nobody is there") && first.contains("cannot be used since 20"))
        try await Task.sleep(for: .milliseconds(1100))
        // The time is that of the first failure.
        #expect(await watch.problem() == first)
        store.set(nil)
        #expect(await watch.problem() == nil)
    }

    @Test func aStoreThatDoesNotAnswerHoldsUpNobody() async throws {
        let store = Store()
        store.gate.close()
        let watch = watch(store, lifetime: .zero)
        for _ in 0..<3 { #expect(await watch.problem()?.contains("does not answer") == true) }
        store.gate.open()
        let deadline = ContinuousClock.now + .seconds(60)
        while await watch.problem() != nil, .now < deadline { try await Task.sleep(for: .milliseconds(5)) }
        #expect(await watch.problem() == nil)
        // The questions above were one.
        #expect(store.calls >= 1 && store.calls <= 4)
    }
}
