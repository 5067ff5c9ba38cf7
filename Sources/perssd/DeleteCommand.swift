import ArgumentParser
import Persistence
import Settings

struct DeleteCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete", abstract: "Deletes a volume for good, as the deletion of its claim would.",
        discussion: """
            For volumes that no cluster has a PersistentVolume of; one that is left over elsewhere finds nothing from then \
            on. What snapshots, clones and labels of it keep stays. A volume that a node holds or reads is refused. What \
            nothing keeps any more goes with the next collections of garbage.
            """)

    @Argument(help: "The volume: id, name, or namespace/claim.") var volume: VolumeArgument
    @Flag(help: "Do not ask for confirmation.") var yes = false
    @OptionGroup(title: "Store") var store: StoreOptions

    func validate() throws {
        guard volume.state == nil else { throw ValidationError("a volume is deleted as a whole: give no generation") }
    }

    mutating func run() async throws {
        // A store that does not honour conditions would let a node take it in the same moment.
        let catalog = Catalog(store: try await openProvenStore(store.settings()))
        let listing = try await VolumeFinder(catalog: catalog).volume(volume.volume)
        let title = listing.record.title
        if !yes {
            let newest = listing.head.newest.map { "generation \($0.number)" } ?? "nothing that was staged out"
            try await Confirmation.require(
                title,
                "WARNING: \(title) (\(listing.record.volume)), with \(newest), is deleted for good. Type the volume's "
                    + "name, \(title), to do it:")
        }
        try await catalog.deleteVolume(listing.record.volume)
        Output.line(printable("volume \(title) (\(listing.record.volume)) is deleted"))
    }
}
