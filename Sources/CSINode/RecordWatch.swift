import Errors
import Logging
import Persistence

/// Reads the records of volumes that are in use again at intervals. The controller tells of a change at once, as a rule;
/// this is for where it could not.
struct RecordWatch: Sendable {
    var volumes: NodeVolumes
    var interval: Duration
    var logger: Logger

    /// Looks until the task is cancelled.
    func run() async {
        await volumes.learnRecoveryPoints()
        while (try? await Task.sleep(for: interval)) != nil { await look() }
    }

    func look() async {
        for id in await volumes.inUse() {
            do {
                try await volumes.refreshRecord(of: id)
            } catch {
                logger.warning("cannot read a volume's record: \(error)", metadata: ["volume": "\(id)"])
            }
        }
        await volumes.learnRecoveryPoints()
    }
}
