import Errors
import Foundation
import Logging
import Persistence

/// Keeps a controller's record in the bucket fresh, for as long as nodes are to let it in.
public actor ControllerPresence {
    private let catalog: Catalog
    private var record: ControllerRecord
    private let interval: Duration
    private let logger: Logger

    /// Records of controllers that died are removed after this time.
    private static let memory: TimeInterval = 86400

    public init(
        catalog: Catalog, cluster: String, certificate: String, interval: Duration = .seconds(30), logger: Logger
    ) {
        self.catalog = catalog
        self.interval = interval
        self.logger = logger
        record = ControllerRecord(
            cluster: cluster, certificate: certificate, startedAt: catalog.time,
            interval: Int(interval.components.seconds))
    }

    /// Writes the record, before the first call of an agent.
    public func start() async throws {
        try await catalog.save(record)
        do {
            for other in try await catalog.controllers(of: record.cluster)
            where other.validUntil.addingTimeInterval(Self.memory) < catalog.time { try await catalog.remove(other) }
        } catch {
            logger.warning("cannot clear up the records of controllers that have ended: \(error)")
        }
    }

    /// Writes it again at intervals until the task is cancelled, then takes it away.
    public func run() async {
        while (try? await Task.sleep(for: interval)) != nil {
            record.seenAt = catalog.time
            do {
                try await catalog.save(record)
            } catch {
                logger.warning("cannot write this controller's record: \(error)")
            }
        }
        let record = record
        do {
            // The task is cancelled, and what it calls would be, too.
            try await Task.detached { [catalog] in try await catalog.remove(record) }.value
        } catch {
            logger.warning("cannot remove this controller's record: \(error)")
        }
    }
}
