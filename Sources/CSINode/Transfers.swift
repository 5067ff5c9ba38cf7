import Blocking
import Errors
import Foundation
import LocalVolumes
import Metering
import Persistence
import Units

/// What a stage-out sent, and what it took.
struct StagedOut: Sendable {
    var map: MapRoot
    var packs: [PackID]
    var statistics: TransferStatistics

    func provenance(node: NodeReference, cutAt: Date, stagedOutAt: Date, uses: VolumeUses) -> Provenance {
        Provenance(
            node: node, startedAt: uses.startedAt, cutAt: cutAt, stagedOutAt: stagedOutAt,
            readBytes: statistics.readBytes, changedBytes: statistics.plainBytes, sentBytes: statistics.sentBytes,
            uses: uses.entries.map(\.use))
    }
}

extension LocalVolumeWork {
    /// Sends what the cut has that the parent has not.
    ///
    /// - Parameter unsavedBytes: how much that may be, so that of those that wait the dirtiest goes first; nil where it is not
    ///   known.
    func send(
        _ cut: Cut, for kind: StageOutKind, unsavedBytes: UInt64?, parent: GenerationRecord?, record: CopyRecord,
        progress: WorkProgress
    ) async throws -> StagedOut {
        let volumeRecord = try await refreshRecord()
        let changed = try await changes(in: cut, since: parent, record: record)
        // Where nothing changed there is nothing to compare, and a base may have to be made ready first.
        let base = changed == .only([]) ? nil : try await base(for: parent, record: record)
        var options = StageOutOptions(compressionLevel: volumeRecord.parameters.compressionLevel)
        options.blockSize = try BlockSize(bytes: volumeRecord.parameters.blockSize)
        options.pacer = pacer
        let stageOut = StageOut(store: environment.catalog.store, lineage: record.lineage, options: options)
        progress.enter("waiting for other transfers of the node")
        return try await environment.transfers.run(rank(unsavedBytes: unsavedBytes)) {
            progress.enter("staging out") { stageOut.meter.progress }
            let start = ContinuousClock.now
            let source = try await BlockingPool.shared.run { try FileBlockSource(path: cut.path) }
            let result = try await stageOut.run(
                source: source, changed: changed, parent: parent?.map, base: base)
            note("staged out", result.statistics, since: start)
            environment.speed.note(result.statistics.plainBytes, in: .now - start)
            Instruments.stageOutReadBytes.add(result.statistics.readBytes, kind.rawValue)
            Instruments.stageOutChangedBytes.add(result.statistics.plainBytes, kind.rawValue)
            Instruments.stageOutBlocks.add(result.statistics.blocksChanged, kind.rawValue)
            Instruments.stageOutSentBytes.add(result.statistics.sentBytes, kind.rawValue)
            return StagedOut(map: result.root, packs: result.packs, statistics: result.statistics)
        }
    }

    /// The parts that differ from the parent, where the copy descends from it and the pool can tell.
    private func changes(
        in cut: Cut, since parent: GenerationRecord?, record: CopyRecord
    ) async throws -> ChangedRanges {
        guard let parent else {
            // Outside of what is allocated there are zeros, as in no parent at all.
            return try await pool.allocatedRanges(of: cut).map { .only($0) } ?? .unknown
        }
        guard parent.number == record.generation,
            let ranges = try await pool.changes(in: cut, since: parent.number)
        else { return .unknown }
        return .only(ranges)
    }

    /// What the parent's contents can be read from, so that only the pages that differ are sent; nil where the pool keeps no
    /// such thing, and whole blocks are sent.
    private func base(for parent: GenerationRecord?, record: CopyRecord) async throws -> FileBlockSource? {
        guard let parent, parent.number == record.generation,
            let path = try await pool.base(of: volume.rawValue, for: parent.number)
        else { return nil }
        do {
            return try await BlockingPool.shared.run { try FileBlockSource(path: path) }
        } catch let error as PerSSDError where error.code == .notFound {
            // The pool has just let it go, to make room.
            return nil
        }
    }

    /// Brings the local copy to a generation, from the one it is, if any, or from nothing.
    func restore(_ target: GenerationRecord, have: MapRoot?, progress: WorkProgress) async throws {
        let device = try await attach()
        let restore = Restore(store: environment.catalog.store, lineage: target.lineage)
        progress.enter("waiting for other transfers of the node")
        try await environment.transfers.run {
            progress.enter("restoring") { restore.meter.progress }
            let contents: SinkContents = have.map { .map($0) } ?? .zeros
            let start = ContinuousClock.now
            do {
                let sink = try await BlockingPool.shared.run { try FileBlockSink(path: device) }
                let statistics = try await restore.run(target.map, to: sink, have: contents)
                note("restored generation \(target.number)", statistics, since: start)
                Instruments.restoreReceivedBytes.add(statistics.receivedBytes)
                Instruments.restoreWrittenBytes.add(statistics.writtenBytes)
                Instruments.restoreBlocks.add(statistics.blocksChanged)
                Instruments.restoreDuration.observe(.now - start, "restored")
            } catch {
                Instruments.restoreDuration.observe(.now - start, "failed")
                throw error
            }
        }
    }

    private func note(_ what: String, _ statistics: TransferStatistics, since start: ContinuousClock.Instant) {
        environment.logger.info(
            "\(what)",
            metadata: [
                "volume": "\(volume)", "duration": "\((.now - start).text)",
                "read": "\(ByteCount(statistics.readBytes))", "changed": "\(ByteCount(statistics.plainBytes))",
                "sent": "\(ByteCount(statistics.sentBytes))", "received": "\(ByteCount(statistics.receivedBytes))",
                "written": "\(ByteCount(statistics.writtenBytes))",
                "requests": "\(statistics.readRequests + statistics.writeRequests)",
            ])
    }
}
