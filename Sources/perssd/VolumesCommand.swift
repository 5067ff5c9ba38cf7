import ArgumentParser
import Errors
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

    @Flag(help: "Tell what each volume holds, such as ext4, by its first blocks, which are fetched for that.")
    var contents = false
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
        /// nil where it was not asked for, or there is none.
        var content: String?
        var now: Date

        private enum Keys: String, CodingKey { case recoveryPoint, readers, content }

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
            try fields.encodeIfPresent(content, forKey: .content)
        }
    }

    mutating func run() async throws {
        let catalog = Catalog(store: try await openExistingStore(store.settings()))
        let listings = try await catalog.allVolumes()
        let points = try await catalog.recoveryPoints(of: listings.map(\.head))
        let readers = try await catalog.readingNodes(
            of: listings.map(\.record.volume).sorted { $0.rawValue < $1.rawValue })
        let contents = contents ? try await Self.contents(of: listings, in: catalog) : [:]
        let now = Date()
        guard !json else {
            return try Output.json(
                listings.map { listing in
                    let id = listing.record.volume
                    return Report(
                        volume: VolumeDescription(listing), point: points[id], readers: readers[id] ?? [],
                        content: contents[id], now: now)
                })
        }
        guard !listings.isEmpty else { return Output.line("no volumes in \(catalog.store.location)") }
        var table = Table(
            [
                ("VOLUME", .left), ("ID", .left), ("SIZE", .right), ("GENERATION", .right), ("AGE", .right),
                ("LEASE", .left), ("READERS", .right),
            ] + (self.contents ? [("HOLDS", .left)] : []))
        for listing in listings.sorted(by: { $0.record.title < $1.record.title }) {
            table.add(
                [
                    listing.record.title, listing.record.volume.rawValue,
                    ByteCount(listing.record.capacityBytes).description,
                    listing.head.newest.map { "\($0.number)" } ?? "-",
                    points[listing.record.volume]?.age(at: now).text ?? (listing.head.newest == nil ? "-" : "damaged"),
                    leaseText(listing.head), readers[listing.record.volume].map { "\($0.count)" } ?? "-",
                ] + (self.contents ? [contents[listing.record.volume] ?? "-"] : []))
        }
        Output.line(table.text)
    }

    /// What the newest generations hold. Damage of one is told in its place, as it is no reason not to look at the next.
    private static func contents(of listings: [VolumeListing], in catalog: Catalog) async throws -> [VolumeID: String] {
        var found: [VolumeID: String] = [:]
        for listing in listings {
            guard let newest = listing.head.newest else { continue }
            do {
                let record = try await catalog.generation(newest)
                found[listing.record.volume] = try await ContentKind.name(of: record, in: catalog)
            } catch let error as PerSSDError where error.code == .corrupt || error.code == .unsupported {
                found[listing.record.volume] = "damaged"
            }
        }
        return found
    }
}

extension String {
    func padding(to width: Int) -> String { self + String(repeating: " ", count: max(0, width - count)) }
}
