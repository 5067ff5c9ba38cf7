import Errors
import Foundation
import Logging
import Persistence

/// Keeps this node's record in the bucket fresh: at intervals, and soon after its pool has changed.
actor NodeReporter {
    private let node: NodeReference
    private let catalog: Catalog
    private let interval: Duration
    private let logger: Logger
    private let startedAt: Date
    private var agent: NodeRecord.Agent?
    /// What the record last said, or was to say, of the pools.
    private(set) var lastReport: [NodeRecord.PoolReport] = []
    private let changes: AsyncStream<Void>
    private let continuation: AsyncStream<Void>.Continuation

    /// Changes come in bursts; they are reported together.
    private static let pause = Duration.milliseconds(200)

    init(node: NodeReference, catalog: Catalog, interval: Duration, logger: Logger) {
        self.node = node
        self.catalog = catalog
        self.interval = interval
        self.logger = logger
        startedAt = catalog.time
        (changes, continuation) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    /// The pool has changed: its record is written soon.
    nonisolated func poolChanged() { continuation.yield() }

    /// From now on the record tells of the agent.
    func announce(_ agent: NodeRecord.Agent?) { self.agent = agent }

    /// Writes the record now.
    func report(_ pools: [NodeRecord.PoolReport]) async throws {
        lastReport = pools
        try await catalog.save(
            NodeRecord(
                node: node, pools: pools, startedAt: startedAt, seenAt: catalog.time,
                interval: Int(interval.components.seconds), agent: agent))
    }

    /// Reports until the task is cancelled. A report that fails is logged, and the next one tried in its time.
    func run(_ pools: @Sendable () async throws -> [NodeRecord.PoolReport]) async {
        let ticker = Task { [interval, continuation] in
            while (try? await Task.sleep(for: interval)) != nil { continuation.yield() }
        }
        defer { ticker.cancel() }
        for await _ in changes {
            do {
                try await report(try await pools())
                try await Task.sleep(for: Self.pause)
            } catch is CancellationError {
                return
            } catch {
                logger.warning("cannot write this node's record: \(error)")
            }
        }
    }
}
