import ArgumentParser
import Foundation
import Persistence
import Settings
import Units

struct ShowCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Shows all that is known of a generation.")

    @Argument(help: VolumeArgument.help)
    var volume: VolumeArgument
    @OptionGroup(title: "Store") var store: StoreOptions
    @Flag(help: "Print one JSON object, for scripts.") var json = false

    private struct Reference: Encodable {
        var volume: String
        var incarnation: String
        var number: UInt64
        /// SHA-256 of the generation's record.
        var digest: String

        init(_ reference: GenerationReference) {
            volume = reference.volume.rawValue
            incarnation = reference.incarnation.rawValue
            number = reference.number
            digest = reference.digest.hex
        }
    }

    private struct Report: Encodable {
        var volume: VolumeDescription
        var generation: GenerationDescription
        /// null where it is no branch. The number is the one that a branch would have got.
        var branchEpoch: UInt64?
        /// null for a branch, which nothing refers to.
        var reference: Reference?
        var parent: Reference?
        var lineage: String
        /// "ext4", "xfs", "btrfs" or "raw"; "damaged" where that cannot be read.
        var content: String
        var blockSize: Int
        /// Blocks that are not all zeros.
        var blocks: UInt64
        /// What these blocks take in the bucket; what several blocks share counts for each.
        var storedBytes: UInt64
        /// What the nodes of the block map take there.
        var mapBytes: UInt64
    }

    mutating func run() async throws {
        let catalog = Catalog(store: try await openExistingStore(store.settings()))
        let finder = VolumeFinder(catalog: catalog)
        let listing = try await finder.volume(volume.volume)
        let (state, reference) = try await Self.find(volume.state, of: listing, finder)
        let record = state.record
        let content = try await ContentKind.name(of: record, in: catalog)
        guard json else { return Output.line(Self.text(listing, reference, state, content)) }
        try Output.json(
            Report(
                volume: VolumeDescription(listing), generation: GenerationDescription(record),
                branchEpoch: state.branchEpoch,
                reference: reference.map(Reference.init), parent: record.parent.map(Reference.init),
                lineage: record.lineage,
                content: content, blockSize: record.map.blockSize.bytes, blocks: record.map.totals.blocks,
                storedBytes: record.map.totals.blockBytes, mapBytes: record.map.totals.mapBytes))
    }

    private static func find(
        _ state: VolumeArgument.State?, of listing: VolumeListing, _ finder: VolumeFinder
    ) async throws -> (FoundState, GenerationReference?) {
        let number: UInt64?
        switch state {
        case .branch: return (try await finder.state(state, of: listing), nil)
        case .generation(let wanted): number = wanted
        case nil: number = nil
        }
        let proven = try await finder.provenGeneration(number, of: listing)
        return (FoundState(record: proven.record), proven.reference)
    }

    /// Who had the volume, one line for each use and each of its labels.
    private static func uses(of provenance: Provenance) -> [(name: String, value: String)] {
        let uses = provenance.uses ?? []
        let omitted = provenance.omittedUses.map { [("", "\($0) more before these")] } ?? []
        return omitted
            + uses.flatMap { use in
                let labels = (use.labels ?? [:]).sorted { $0.key < $1.key }.map { ("  \($0.key)", $0.value) }
                return [("used by", use.title)] + labels
            }
    }

    private static func basis(of branch: GenerationRecord) -> String {
        branch.number > 1 ? "generation \(branch.number - 1)" : "an empty volume"
    }

    private static func text(
        _ listing: VolumeListing, _ reference: GenerationReference?, _ state: FoundState,
        _ content: String
    ) -> String {
        let record = state.record
        let (map, provenance) = (record.map, record.provenance)
        let took = Duration.seconds(max(0, provenance.stagedOutAt.timeIntervalSince(provenance.cutAt)))
        let parent = record.parent.map { parent in
            "generation \(parent.number)" + (parent.volume == record.volume ? "" : " of volume \(parent.volume)")
        }
        let isNewest = reference != nil && listing.head.newest == reference
        let which =
            state.isBranch
            ? [("branch", "of epoch \(record.epoch)"), ("based on", basis(of: record))]
            : [
                ("generation", "\(record.number)" + (isNewest ? ", the newest" : "")),
                ("record", reference.map { "\($0.digest)" } ?? "-"), ("parent", parent ?? "none: it is the first"),
                ("its record", record.parent.map { "\($0.digest)" } ?? "-"),
            ]
        return Output.fields(
            [
                ("volume", "\(listing.record.title) (\(record.volume))")
            ] + which + [
                ("holds", content), ("content", "\(map.contentDigest)"),
                ("node", "\(provenance.node)"),
                ("epoch", "\(record.epoch)"),
                ("since", provenance.startedAt.map { "\(Output.time($0)) UTC" } ?? "-"),
                ("cut", "\(Output.time(provenance.cutAt)) UTC"),
                ("staged out", "\(Output.time(provenance.stagedOutAt)) UTC, \(took.text) later"),
                ("size", "\(ByteCount(map.capacityBytes))"),
                ("data", "\(ByteCount(map.allocatedBytes)): \(map.totals.blocks) blocks of \(map.blockSize)"),
                ("stored", "\(ByteCount(map.totals.blockBytes)), and \(ByteCount(map.totals.mapBytes)) of block map"),
                ("read", "\(ByteCount(provenance.readBytes)) of the local copy"),
                ("changed", "\(ByteCount(provenance.changedBytes)) since the parent"),
                ("sent", "\(ByteCount(provenance.sentBytes))"),
                ("lineage", record.lineage),
                ("incarnation", "\(record.incarnation)"),
            ] + uses(of: provenance))
    }
}
