import CSINode
import Errors
import Logging
import ServiceLifecycle
import Settings

/// Looks for the pools that the node lacked at its start, for as long as the process serves. When one is there, the process
/// ends in order: started again it has the pool, takes up what that holds, and tells of it.
struct PoolSearch: Service {
    static let pause = Duration.seconds(60)

    private let missing: [PoolSettings]
    private let logger: Logger

    init(for missing: [MissingPool], settings: [PoolSettings], logger: Logger) {
        let names = Set(missing.map(\.name))
        self.missing = settings.filter { names.contains($0.name) }
        self.logger = logger
    }

    func run() async throws {
        await cancelWhenGracefulShutdown { await search() }
    }

    /// Returns once a pool is there, or the task is cancelled.
    private func search() async {
        while (try? await Task.sleep(for: missing.isEmpty ? .seconds(86400) : Self.pause)) != nil {
            for pool in missing {
                do {
                    // Let go of with the process, which is soon.
                    _ = try await PoolOpening.open(pool, logger: logger)
                } catch {
                    logger.debug("the pool '\(pool.name)' is still missing: \(error)")
                    continue
                }
                logger.notice(
                    """
                    the pool '\(pool.name)' is there: ending, to be started again with it
                    """)
                return
            }
        }
    }
}
