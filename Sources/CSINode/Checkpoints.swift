import Errors
import Logging
import Metering
import Persistence

/// Makes generations of published volumes at the intervals that their parameters say, so that the loss of a node costs no
/// more than what was written since.
actor Checkpoints {
    private let volumes: NodeVolumes
    private let pause: Duration
    private let logger: Logger
    private var running: Set<VolumeID> = []

    /// - Parameter pause: how often is looked which volumes are due.
    init(volumes: NodeVolumes, pause: Duration, logger: Logger) {
        (self.volumes, self.pause, self.logger) = (volumes, pause, logger)
    }

    /// Looks until the task is cancelled. Checkpoints that are under way then go on, as any stage-out does.
    func run() async {
        while (try? await Task.sleep(for: pause)) != nil { await look() }
    }

    /// Begins what is due. A volume whose last one still runs is left to it.
    func look() async {
        for (id, actor) in await volumes.dueForCheckpoint() where !running.contains(id) {
            running.insert(id)
            Task { await self.make(id, actor) }
        }
    }

    private func make(_ id: VolumeID, _ actor: VolumeActor) async {
        let start = ContinuousClock.now
        do {
            try await actor.checkpoint(until: .now + .seconds(86400))
            Instruments.checkpoints.add(1, CheckpointOutcome.made.rawValue)
            logger.info("checkpoint", metadata: ["volume": "\(id)", "duration": "\((.now - start).text)"])
        } catch {
            Instruments.checkpoints.add(1, CheckpointOutcome.failed.rawValue)
            logger.warning("a checkpoint failed: \(PerSSDError(wrapping: error))", metadata: ["volume": "\(id)"])
        }
        running.remove(id)
    }
}
