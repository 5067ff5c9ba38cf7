import ArgumentParser
import Persistence
import Settings
import Units

struct VolumesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "volumes", abstract: "Lists the volumes in the bucket.")

    @OptionGroup(title: "Store") var store: StoreOptions
    @Flag(help: "Print one JSON array, for scripts.") var json = false

    mutating func run() async throws {
        let catalog = Catalog(store: try await openExistingStore(store.settings()))
        let listings = try await VolumeFinder(catalog: catalog).all()
        guard !json else { return try Output.json(listings.map(VolumeDescription.init)) }
        guard !listings.isEmpty else { return Output.line("no volumes in \(catalog.store.location)") }
        var table = Table([
            ("VOLUME", .left), ("ID", .left), ("SIZE", .right), ("GENERATION", .right), ("LEASE", .left),
        ])
        for listing in listings.sorted(by: { $0.record.title < $1.record.title }) {
            table.add([
                listing.record.title, listing.record.volume.rawValue,
                ByteCount(listing.record.capacityBytes).description,
                listing.head.newest.map { "\($0.number)" } ?? "-", leaseText(listing.head),
            ])
        }
        Output.line(table.text)
    }
}

struct LogCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "log", abstract: "Shows a volume and its generations, newest first.")

    @Argument(help: "The volume: id, name, or namespace/claim.") var volume: VolumeArgument
    @Option(help: "How many generations to show at the most.") var limit = 20
    @OptionGroup(title: "Store") var store: StoreOptions
    @Flag(help: "Print one JSON object, for scripts.") var json = false

    private struct Report: Encodable {
        var volume: VolumeDescription
        var generations: [GenerationDescription]
    }

    func validate() throws {
        guard volume.generation == nil else { throw ValidationError("give the volume without a generation") }
        guard limit > 0 else { throw ValidationError("--limit has to be 1 or more") }
    }

    mutating func run() async throws {
        let catalog = Catalog(store: try await openExistingStore(store.settings()))
        let listing = try await VolumeFinder(catalog: catalog).volume(volume.volume)
        let generations = try await catalog.history(of: listing.head, limit: limit)
        guard !json else {
            return try Output.json(
                Report(
                    volume: VolumeDescription(listing), generations: generations.map(GenerationDescription.init)))
        }
        Output.line(Self.header(listing))
        guard !generations.isEmpty else { return Output.line("\nno generations: nothing has been staged out yet") }
        var table = Table([
            ("GENERATION", .right), ("CUT AT (UTC)", .left), ("NODE", .left), ("EPOCH", .right), ("DATA", .right),
            ("CHANGED", .right), ("SENT", .right), ("CONTENT", .left),
        ])
        for record in generations {
            table.add([
                "\(record.number)", Output.time(record.provenance.cutAt), record.provenance.node.description,
                "\(record.epoch)", ByteCount(record.map.allocatedBytes).description,
                ByteCount(record.provenance.changedBytes).description,
                ByteCount(record.provenance.sentBytes).description, String(record.map.contentDigest.hex.prefix(12)),
            ])
        }
        Output.line("\n" + table.text)
        if let last = generations.last, last.parent != nil { Output.line("\nolder ones: --limit shows more") }
    }

    static func header(_ listing: VolumeListing) -> String {
        let (record, head) = (listing.record, listing.head)
        var lines = [
            ("volume", record.title), ("id", record.volume.rawValue), ("name", record.name),
            ("size", ByteCount(record.capacityBytes).description),
            ("blocks", ByteCount(record.parameters.blockSize).description), ("pool", record.parameters.pool),
            ("created", "\(Output.time(record.createdAt)) UTC"), ("lease", "\(leaseText(head)) (epoch \(head.epoch))"),
        ]
        if let loss = head.loss {
            lines.append(
                (
                    "loss",
                    "what \(loss.node) wrote between \(Output.time(loss.openSince)) and "
                        + "\(Output.time(loss.revokedAt)) UTC, at epoch \(loss.epoch), was given up"
                ))
        }
        return Output.fields(lines)
    }
}

extension String {
    func padding(to width: Int) -> String { self + String(repeating: " ", count: max(0, width - count)) }
}
