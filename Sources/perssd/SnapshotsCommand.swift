import ArgumentParser
import Foundation
import Persistence
import Settings
import Units

struct SnapshotsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "snapshots", abstract: "Lists snapshots, of volumes that are gone, too.",
        discussion: """
            GENERATION is what a snapshot keeps: '-' where its volume had never been written, 'waiting' where a node has \
            still to commit it. 'perssd clone ID NAME' makes a volume of one; a VolumeSnapshotContent made by hand has the \
            id as its snapshotHandle.
            """)

    @Argument(help: "Only of this volume: id, name, or namespace/claim. By id, also of one that is gone.")
    var volume: String?
    @OptionGroup(title: "Store") var store: StoreOptions
    @Flag(help: "Print one JSON array, for scripts.") var json = false

    /// A snapshot as `--json` shows it. Keys stay; new ones may come.
    private struct Description: Encodable {
        var id: String
        var name: String
        var volume: String
        /// "namespace/claim"; null where the provisioner did not tell.
        var claim: String?
        /// null where it keeps none, or none yet.
        var generation: UInt64?
        var isReady: Bool
        var capacityBytes: UInt64
        var createdAt: Date
        /// The group snapshot that it is a member of.
        var group: String?

        init(_ record: SnapshotRecord) {
            id = record.snapshot.rawValue
            name = record.name
            volume = record.volume.rawValue
            claim = record.claim?.description
            generation = record.generation?.number
            isReady = record.isReady
            capacityBytes = record.capacityBytes
            createdAt = record.createdAt
            group = record.group?.rawValue
        }
    }

    mutating func run() async throws {
        let catalog = Catalog(store: try await openExistingStore(store.settings()))
        var id: VolumeID?
        if let volume {
            if let named = VolumeID(volume) {
                id = named
            } else {
                id = try await VolumeFinder(catalog: catalog).volume(volume).record.volume
            }
        }
        let found = try await catalog.snapshots(of: id, after: nil, limit: .max)
        guard !json else { return try Output.json(found.map(Description.init)) }
        guard !found.isEmpty else { return Output.line("no snapshots in \(catalog.store.location)") }
        var table = Table([
            ("SNAPSHOT", .left), ("ID", .left), ("VOLUME", .left), ("GENERATION", .right), ("SIZE", .right),
            ("CREATED (UTC)", .left),
        ])
        for record in found.sorted(by: { $0.createdAt < $1.createdAt }) {
            table.add([
                record.name, record.snapshot.rawValue, record.claim?.description ?? record.volume.rawValue,
                record.isReady ? record.generation.map { "\($0.number)" } ?? "-" : "waiting",
                ByteCount(record.capacityBytes).description, Output.time(record.createdAt),
            ])
        }
        Output.line(table.text)
    }
}
