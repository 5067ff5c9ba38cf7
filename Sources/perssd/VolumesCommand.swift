import ArgumentParser
import Foundation
import Persistence
import Settings
import Units

struct VolumesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "volumes", abstract: "Lists the volumes in the bucket.",
        discussion: """
            AGE is the recovery point: how old the newest generation is, which is what the volume comes back as where its \
            node is lost. LEASE says whether a node may have written since: it is open then. READERS is how many nodes have \
            the volume to read.
            """)

    @OptionGroup(title: "Store") var store: StoreOptions
    @Flag(help: "Print one JSON array, for scripts.") var json = false

    /// A volume, and what it would come back as, were its node lost now.
    private struct Report: Encodable {
        struct Point: Encodable {
            var generation: UInt64
            var cutAt: Date
            var ageSeconds: Int64
            /// Whether a node may have written since what no generation holds.
            var isDirty: Bool
        }

        var volume: VolumeDescription
        var point: RecoveryPoint?
        var readers: [NodeReference]
        var now: Date

        private enum Keys: String, CodingKey { case recoveryPoint, readers }

        func encode(to encoder: any Encoder) throws {
            try volume.encode(to: encoder)
            var fields = encoder.container(keyedBy: Keys.self)
            let isDirty = volume.lease?.state == Lease.State.open.rawValue
            try fields.encodeIfPresent(
                point.map {
                    Point(
                        generation: $0.generation, cutAt: $0.cutAt, ageSeconds: $0.age(at: now).components.seconds,
                        isDirty: isDirty)
                }, forKey: .recoveryPoint)
            try fields.encode(readers.map(\.description), forKey: .readers)
        }
    }

    mutating func run() async throws {
        let catalog = Catalog(store: try await openExistingStore(store.settings()))
        let listings = try await catalog.allVolumes()
        let points = try await catalog.recoveryPoints(of: listings.map(\.head))
        let readers = try await catalog.readingNodes(
            of: listings.map(\.record.volume).sorted { $0.rawValue < $1.rawValue })
        let now = Date()
        guard !json else {
            return try Output.json(
                listings.map { listing in
                    let id = listing.record.volume
                    return Report(
                        volume: VolumeDescription(listing), point: points[id], readers: readers[id] ?? [], now: now)
                })
        }
        guard !listings.isEmpty else { return Output.line("no volumes in \(catalog.store.location)") }
        var table = Table([
            ("VOLUME", .left), ("ID", .left), ("SIZE", .right), ("GENERATION", .right), ("AGE", .right),
            ("LEASE", .left), ("READERS", .right),
        ])
        for listing in listings.sorted(by: { $0.record.title < $1.record.title }) {
            table.add([
                listing.record.title, listing.record.volume.rawValue,
                ByteCount(listing.record.capacityBytes).description,
                listing.head.newest.map { "\($0.number)" } ?? "-",
                points[listing.record.volume]?.age(at: now).text ?? (listing.head.newest == nil ? "-" : "damaged"),
                leaseText(listing.head), readers[listing.record.volume].map { "\($0.count)" } ?? "-",
            ])
        }
        Output.line(table.text)
    }
}

extension String {
    func padding(to width: Int) -> String { self + String(repeating: " ", count: max(0, width - count)) }
}
