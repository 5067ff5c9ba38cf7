import Errors
import Persistence
import Synchronization

/// Whether the store can be used. Liveness probes of several sidecars come often, so an answer counts for a while.
final class StoreHealth: Sendable {
    static let lifetime = Duration.seconds(5)

    private let store: any ObjectStore
    private let last = Mutex<(at: ContinuousClock.Instant, failure: PerSSDError?)?>(nil)

    init(_ store: any ObjectStore) { self.store = store }

    /// - Throws: the store's reason why it cannot be used, perhaps of a few seconds ago.
    func check() async throws {
        if let last = last.withLock({ $0 }), .now - last.at < Self.lifetime {
            if let failure = last.failure { throw failure }
            return
        }
        var failure: PerSSDError?
        do {
            try await store.check()
        } catch {
            // A caller that went away says nothing about the store.
            try Task.checkCancellation()
            failure = PerSSDError(wrapping: error)
        }
        last.withLock { $0 = (.now, failure) }
        if let failure { throw failure }
    }
}
