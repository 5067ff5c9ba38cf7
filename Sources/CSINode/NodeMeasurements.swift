import Foundation
import LocalVolumes
import Metering
import Persistence

/// What a stage-out is for.
enum StageOutKind: String, Sendable {
    /// The last pod has gone.
    case unpublish
    /// Its time had come.
    case checkpoint
    /// A snapshot, or a group of them, waits for it.
    case snapshot
    /// The lease was lost, and the work is kept beside the volume.
    case branch
}

/// How a stage-out ended.
enum StageOutOutcome: String, Sendable {
    case committed
    /// Nothing differed from the newest generation, so that there is no new one.
    case unchanged
    case failed
}

/// How a checkpoint that came due ended.
enum CheckpointOutcome: String, Sendable {
    case made
    /// Nothing had been written since the last cut.
    case skipped
    case failed
}

/// What it took to bring a volume to its first pod.
enum PublishSource: String, Sendable {
    /// The local copy was there, and nothing was fetched.
    case warm
    /// An older local copy was brought up to date.
    case delta
    case restored
    /// The volume was never written before.
    case new
}

extension DurationInstrument {
    func observe(_ duration: Duration, _ kind: StageOutKind, _ outcome: StageOutOutcome) {
        observe(duration, kind.rawValue, outcome.rawValue)
    }
}

extension NodePlugin {
    /// What is looked up whenever the metrics are asked for. It asks neither the bucket nor a pool's tools.
    public func measurements() async -> [MetricSample] {
        var samples: [MetricSample] = []
        for pool in await reporter.lastReport {
            samples.append(Instruments.poolSizeBytes.sample(Double(pool.totalBytes), pool.name))
            samples.append(Instruments.poolFreeBytes.sample(Double(pool.freeBytes), pool.name))
            samples.append(Instruments.poolEvictableBytes.sample(Double(pool.evictableBytes), pool.name))
        }
        for (pool, fill) in await poolWatch.fills {
            samples.append(Instruments.poolDataUsed.sample(fill.data, pool))
            samples.append(Instruments.poolMetadataUsed.sample(fill.metadata, pool))
        }
        for pool in pools.all { samples.append(Instruments.poolMissing.sample(0, pool.name)) }
        for pool in pools.missing { samples.append(Instruments.poolMissing.sample(1, pool.name)) }
        let states = await volumes.copyStates()
        for state in CopyRecord.State.allCases {
            samples.append(Instruments.localCopies.sample(Double(states[state] ?? 0), state.rawValue))
        }
        samples.append(Instruments.openLeases.sample(Double(await volumes.openLeases())))
        let now = catalog.time
        for (id, exposure) in await volumes.exposures() {
            let age = exposure.age(at: now) / .seconds(1)
            samples.append(Instruments.recoveryPointAge.sample(age, id.rawValue))
            if let bytes = exposure.unsavedBytes {
                samples.append(Instruments.unsavedBytes.sample(Double(bytes), id.rawValue))
            }
        }
        return samples
    }
}
