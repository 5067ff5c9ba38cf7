import Errors
import LocalVolumes
import Logging

/// Looks at intervals whether what is written to the pools has room, however it came to be taken, and makes room while the
/// pods do not feel it yet.
actor PoolWatch {
    private let pools: NodePools
    private let interval: Duration
    private let logger: Logger
    /// Lets clean local copies go until the pool is short of nothing, and returns what it is short of all the same.
    private let relieve: @Sendable (any VolumePool) async throws -> PerSSDError?
    private let changed: @Sendable () -> Void
    private var problems: [String: String] = [:]
    /// Of thin pools, at the last look.
    private(set) var fills: [String: ThinPoolFill] = [:]

    /// - Parameter changed: called where a pool has come to be short of room, or has room again.
    init(
        pools: NodePools, interval: Duration, logger: Logger, changed: @escaping @Sendable () -> Void,
        relieve: @escaping @Sendable (any VolumePool) async throws -> PerSSDError?
    ) {
        (self.pools, self.interval, self.logger) = (pools, interval, logger)
        (self.changed, self.relieve) = (changed, relieve)
    }

    /// Looks until the task is cancelled.
    func run() async {
        while (try? await Task.sleep(for: interval)) != nil { await look() }
    }

    /// Looks once.
    func look() async {
        for pool in pools.all {
            do {
                note(try await relieve(pool).map { "the pool '\(pool.name)' is short of room: \($0)" }, of: pool)
                fills[pool.name] = try await pool.fill()
            } catch {
                if Task.isCancelled { return }
                fills[pool.name] = nil
                note("how full the pool '\(pool.name)' is cannot be told: \(PerSSDError(wrapping: error))", of: pool)
            }
        }
    }

    /// What is wrong with a pool's room, as far as this node has noticed, for people; nil where nothing is.
    func problem(of pool: String) -> String? { problems[pool] }

    /// Said when it begins and when it ends, not at each look.
    private func note(_ problem: String?, of pool: any VolumePool) {
        let before = problems[pool.name]
        problems[pool.name] = problem
        if before == nil, let problem { logger.warning("\(problem)") }
        if before != nil, problem == nil { logger.notice("the pool '\(pool.name)' has room again") }
        if (before == nil) != (problem == nil) { changed() }
    }
}
