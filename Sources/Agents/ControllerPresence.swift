import Errors
import Foundation
import Logging
import Persistence

/// Keeps a controller's record in the bucket fresh, for as long as nodes are to let it in.
public actor ControllerPresence {
    private let catalog: Catalog
    private var record: ControllerRecord
    private let interval: Duration
    private let farewell: Duration
    private let logger: Logger

    /// Records of controllers that died are removed after this time.
    private static let memory: TimeInterval = 86400

    /// - Parameter farewell: how long the record's removal may take at the end. One that stays is taken for a process that died.
    public init(
        catalog: Catalog, cluster: String, certificate: String, interval: Duration = .seconds(30),
        farewell: Duration = .seconds(5), logger: Logger
    ) {
        self.catalog = catalog
        self.interval = interval
        self.farewell = farewell
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
        // The task is cancelled, and what it calls would be, too.
        let removal = Task.detached { [catalog, record] in try await catalog.remove(record) }
        let timer = Task.detached { [farewell] in
            try await Task.sleep(for: farewell)
            removal.cancel()
        }
        do {
            try await removal.value
        } catch {
            logger.warning("cannot remove this controller's record: \(error)")
        }
        timer.cancel()
    }
}
