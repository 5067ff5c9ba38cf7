import ArgumentParser
import Errors
import Foundation
import Persistence
import Settings
import Units

struct RestoreCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restore",
        abstract: "Restores a volume's device to a file, or to a block device.",
        discussion: """
            The file is sparse, holds the volume's file system, and can be mounted with 'mount -o loop'. It appears only \
            when it is complete and every block of it has been verified. For a volume that is in use it is the newest \
            committed generation, without what was written since.
            """)

    @Argument(help: VolumeArgument.help)
    var volume: VolumeArgument
    @Option(name: .customLong("to"), help: "The file to make, or a block device.", completion: .file())
    var destination: String
    @Flag(help: "Replace the file, or overwrite the block device, if it is there.") var force = false
    @OptionGroup(title: "Store") var store: StoreOptions
    @Flag(help: "Print one JSON object, for scripts, and no progress.") var json = false

    private struct Report: Encodable {
        var volume: String
        /// Of a branch, the number that it would have got.
        var generation: UInt64
        /// null where it is no branch.
        var branchEpoch: UInt64?
        var contentDigest: String
        var destination: String
        var sizeBytes: UInt64
        var writtenBytes: UInt64
        var receivedBytes: UInt64
        var requests: UInt64
    }

    mutating func run() async throws {
        let settings = try store.settings()
        let (volume, json, path, force) = (volume, json, destination, force)
        try await untilInterrupted {
            let catalog = Catalog(store: try await openExistingStore(settings))
            let finder = VolumeFinder(catalog: catalog)
            let listing = try await finder.volume(volume.volume)
            let state = try await finder.state(volume.state, of: listing)
            let record = state.record
            let destination = try await RestoreDestination.open(
                path, capacity: record.map.capacityBytes, force: force)
            let restore = Restore(store: catalog.store, lineage: record.lineage)
            let start = ContinuousClock.now
            let statistics: TransferStatistics
            do {
                statistics = try await ProgressDisplay.during(
                    "restoring", expectedBytes: record.map.allocatedBytes, isQuiet: json, meter: restore.meter
                ) { try await restore.run(record.map, to: destination, have: destination.contents) }
                try await destination.commit()
            } catch {
                do {
                    try await destination.discard()
                } catch let leftover {
                    Output.note("could not remove the incomplete file: \(PerSSDError(wrapping: leftover))")
                }
                throw error
            }
            let time = ContinuousClock.now - start
            guard json else {
                return Output.line(
                    "\(state.title) of \(listing.record.title) is in \(path): "
                        + "\(ByteCount(record.map.capacityBytes)), \(ByteCount(statistics.writtenBytes)) of data, "
                        + "\(ByteCount(statistics.receivedBytes)) read from the store, in \(time.text)")
            }
            try Output.json(
                Report(
                    volume: listing.record.volume.rawValue, generation: record.number,
                    branchEpoch: state.branchEpoch,
                    contentDigest: record.map.contentDigest.hex, destination: path, sizeBytes: destination.sizeBytes,
                    writtenBytes: statistics.writtenBytes, receivedBytes: statistics.receivedBytes,
                    requests: statistics.readRequests))
        }
    }
}
