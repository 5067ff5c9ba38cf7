import ArgumentParser
import Errors
import Persistence
import Settings

struct PinCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pin",
        abstract: "Keeps a generation, under a label, whatever the volume's retention says.",
        discussion: "Without a label, lists the volume's pins.")

    @Argument(help: "The volume (id, name, or namespace/claim), and @GENERATION for another than the newest.")
    var volume: VolumeArgument
    @Argument(help: "A name for what is kept: letters, digits, '-', '_' and '.'.") var label: String?
    @Flag(help: "Let go what the label keeps.") var remove = false
    @OptionGroup(title: "Store") var store: StoreOptions

    mutating func validate() throws {
        if remove, label == nil { throw ValidationError("--remove needs the label") }
        if remove, volume.state != nil { throw ValidationError("--remove takes a label, and no @GENERATION") }
        if case .branch = volume.state {
            throw ValidationError("a branch needs no pin: it stays as long as its volume")
        }
    }

    mutating func run() async throws {
        let catalog = Catalog(store: try await openExistingStore(store.settings()))
        let finder = VolumeFinder(catalog: catalog)
        let listing = try await finder.volume(volume.volume)
        let id = listing.record.volume
        guard let label else {
            let pins = try await catalog.pins(of: id)
            guard !pins.isEmpty else { return Output.line("nothing of \(printable(listing.record.title)) is pinned") }
            var table = Table([("LABEL", .left), ("GENERATION", .right), ("SINCE (UTC)", .left)])
            for pin in pins { table.add([pin.label, "\(pin.generation.number)", Output.time(pin.createdAt)]) }
            return Output.line(table.text)
        }
        guard !remove else {
            try await catalog.unpin(label, of: id)
            return Output.line("'\(printable(label))' keeps nothing of \(printable(listing.record.title)) any more")
        }
        var wanted: UInt64?
        if case .generation(let number) = volume.state { wanted = number }
        let generation = try await finder.provenGeneration(wanted, of: listing)
        let record = generation.record
        try await catalog.pin(generation.reference, of: id, lineage: record.lineage, label: label)
        Output.line("'\(printable(label))' keeps generation \(record.number) of \(printable(listing.record.title))")
    }
}
