import Errors
import Synchronization

/// Whether a plugin can work. Liveness probes of several sidecars come often, so an answer counts for a while.
public final class PluginHealth: Sendable {
    public static let lifetime = Duration.seconds(5)

    private let examine: @Sendable () async throws -> Void
    private let last = Mutex<(at: ContinuousClock.Instant, failure: PerSSDError?)?>(nil)

    /// - Parameter examine: throws where the plugin cannot work.
    public init(_ examine: @escaping @Sendable () async throws -> Void) { self.examine = examine }

    /// - Throws: the reason why the plugin cannot work, perhaps of a few seconds ago.
    public func check() async throws {
        if let last = last.withLock({ $0 }), .now - last.at < Self.lifetime {
            if let failure = last.failure { throw failure }
            return
        }
        var failure: PerSSDError?
        do {
            try await examine()
        } catch {
            // A caller that went away says nothing about the plugin.
            try Task.checkCancellation()
            failure = PerSSDError(wrapping: error)
        }
        last.withLock { $0 = (.now, failure) }
        if let failure { throw failure }
    }
}
