import Errors
import Foundation
import Synchronization
import TestSupport
import Testing

@testable import Persistence

@Suite struct StoreClockTests {
    private final class Watch: Sendable {
        private let ahead = Mutex(0.0)
        func set(ahead seconds: Double) { ahead.withLock { $0 = seconds } }
        var now: Date { Date(timeIntervalSinceNow: ahead.withLock { $0 }) }
    }

    /// A store whose own times are right.
    private func withStore(_ body: (DirectoryStore) async throws -> Void) async throws {
        let directory = try TemporaryDirectory("clock")
        try await body(try await DirectoryStore.open(directory: directory.path))
    }

    private func distance(_ clock: StoreClock) -> TimeInterval { abs(clock.now.timeIntervalSinceNow) }

    @Test(arguments: [-3 * 3600.0, 3 * 3600.0, -86400.0 * 365])
    func aClockThatIsFarOffGivesWayToTheStores(ahead: TimeInterval) async throws {
        try await withStore { store in
            let watch = Watch()
            watch.set(ahead: ahead)
            let clock = StoreClock(own: { watch.now })
            #expect(abs(clock.now.timeIntervalSince(watch.now)) < 5)
            try await clock.compare(with: store)
            #expect(distance(clock) < 5)
            #expect(abs(clock.difference - ahead) < 5)
            // Set right, it counts again; set wrong later, it does not.
            watch.set(ahead: 0)
            #expect(distance(clock) < 5 && abs(clock.difference) < 5)
            watch.set(ahead: -ahead)
            #expect(distance(clock) < 5)
            // Nothing of it stays in the store.
            #expect(try await store.list(prefix: ConditionalWriteTest.folder, after: nil, limit: 10).isEmpty)
        }
    }

    @Test func aClockThatIsNearlyRightIsLeftAlone() async throws {
        try await withStore { store in
            let watch = Watch()
            watch.set(ahead: 10)
            let clock = StoreClock(own: { watch.now })
            try await clock.compare(with: store)
            #expect(abs(clock.now.timeIntervalSince(watch.now)) < 2)
        }
    }
}
