import Errors
import LocalVolumes
import Logging
import Persistence
import SystemPackage

/// The ephemeral volumes of this node: scratch on a pool, which a pod's own description asks for and which goes with the
/// pod.
actor EphemeralVolumes {
    private var volumes: [EphemeralID: Entry] = [:]
    private let environment: NodeEnvironment

    private struct Entry {
        var actor: VolumeActor
        var work: EphemeralVolumeWork
    }

    init(environment: NodeEnvironment) { self.environment = environment }

    /// Takes up what an earlier process has left: what is published stays so, and the rest goes.
    func recover(_ found: [RecoveredCopy]) async throws {
        for copy in found {
            guard let id = EphemeralID(copy.copy.record.volume) else {
                environment.logger.error(
                    "a local copy has no volume's name and is left alone: \(copy.copy.record.volume)")
                continue
            }
            let targets = try await environment.targets(of: copy.copy)
            let work = EphemeralVolumeWork(id, found: copy.copy, in: copy.pool, environment: environment)
            if targets.isEmpty {
                environment.logger.info("an ephemeral volume that no pod has is removed", metadata: ["volume": "\(id)"])
                try await work.remove()
            } else {
                environment.logger.info("found an ephemeral volume", metadata: ["volume": "\(id)"])
                add(id, work, VolumeMachine(targets: targets))
            }
        }
    }

    /// How many there are.
    var count: Int { volumes.count }

    /// Whether the node has such a volume.
    func has(_ id: EphemeralID) -> Bool { volumes[id] != nil }

    /// Makes the volume and publishes it, or publishes it once more.
    func publish(_ id: EphemeralID, _ request: PublishRequest, until deadline: ContinuousClock.Instant) async throws {
        let entry =
            volumes[id]
            ?? add(
                id, EphemeralVolumeWork(id, found: nil, in: nil, environment: environment), VolumeMachine())
        do {
            try await entry.actor.publish(request, until: deadline)
        } catch {
            await forgetIfNothing(id)
            throw error
        }
    }

    /// Takes a target away, and with the last one the volume and all it holds.
    func unpublish(_ id: EphemeralID, path: String, until deadline: ContinuousClock.Instant) async throws {
        guard let entry = volumes[id] else { return }
        try await entry.actor.unpublish(path: path, inBackground: false, until: deadline)
        await forgetIfNothing(id)
    }

    /// How full a published volume is, and how well; nil where it is not published there.
    func report(of id: EphemeralID, at path: String) async -> VolumeReport? {
        guard let entry = volumes[id], await entry.actor.targets.contains(where: { $0.path == path }) else {
            return nil
        }
        var problems = await environment.problems(of: id.rawValue, device: entry.work.copy?.device)
        var usage: VolumeUsageReport?
        do {
            usage = .fileSystem(try await environment.publisher.stats(of: id.rawValue))
        } catch {
            problems.append("how full it is cannot be told: \(PerSSDError(wrapping: error))")
        }
        return VolumeReport(usage: usage, problems: problems, pool: entry.work.pool?.name, isInBucket: false)
    }

    @discardableResult
    private func add(_ id: EphemeralID, _ work: EphemeralVolumeWork, _ machine: VolumeMachine) -> Entry {
        var logger = environment.logger
        logger[metadataKey: "volume"] = "\(id)"
        let entry = Entry(actor: VolumeActor(id, found: machine, work: work, logger: logger), work: work)
        volumes[id] = entry
        return entry
    }

    private func forgetIfNothing(_ id: EphemeralID) async {
        guard let entry = volumes[id], entry.work.copy == nil, await entry.actor.retire() else { return }
        volumes[id] = nil
    }
}
