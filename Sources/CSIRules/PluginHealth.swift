import Errors
import Synchronization

/// Whether a plugin can work. Liveness probes of several sidecars come often, so an answer counts for a while.
///
/// An examination goes on when its caller has lost patience, and the next one joins it: a pool that is busy may take longer
/// to answer than any one caller waits.
public final class PluginHealth: Sendable {
    public static let lifetime = Duration.seconds(5)

    private struct State {
        var last: (at: ContinuousClock.Instant, failure: PerSSDError?)?
        var running: Task<PerSSDError?, Never>?
    }

    private let examine: @Sendable () async throws -> Void
    private let state = Mutex(State())

    /// - Parameter examine: throws where the plugin cannot work.
    public init(_ examine: @escaping @Sendable () async throws -> Void) { self.examine = examine }

    /// - Throws: the reason why the plugin cannot work, perhaps of a few seconds ago.
    public func check() async throws {
        let examination = state.withLock { state in
            if let last = state.last, .now - last.at < Self.lifetime {
                return Task { last.failure }
            }
            if let running = state.running { return running }
            let begun = Task { await self.examineNow() }
            state.running = begun
            return begun
        }
        if let failure = await examination.value { throw failure }
    }

    private func examineNow() async -> PerSSDError? {
        var failure: PerSSDError?
        do {
            try await examine()
        } catch {
            failure = PerSSDError(wrapping: error)
        }
        state.withLock { $0 = State(last: (.now, failure)) }
        return failure
    }
}
