import ArgumentParser
import Errors
import Foundation
import Persistence
import Settings

struct ForgetCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "forget",
        abstract: "Gives up a node, or all nodes of a cluster, that will not come back.",
        discussion: """
            Takes away the leases that they hold, with what that loses on record, and what they read; then their own records. \
            Nodes that are alive are refused: end them first, or revoke single leases with 'perssd lease VOLUME --revoke'. \
            Should a node come back all the same, it registers again, and keeps what it had not committed as branches.
            """)

    @Argument(help: "CLUSTER/NODE, or CLUSTER for all its nodes, as 'perssd nodes' lists them.") var whom: String
    @Flag(help: "Do not ask for confirmation.") var yes = false
    @Flag(help: "Only show what there is to take away.") var dryRun = false
    @OptionGroup(title: "Store") var store: StoreOptions
    @Flag(help: "Print one JSON object, for scripts. Needs --yes or --dry-run.") var json = false

    func validate() throws {
        guard !json || yes || dryRun else { throw ValidationError("--json asks nothing: give --yes or --dry-run") }
    }

    private struct Report: Encodable {
        struct Lease: Encodable {
            var volume: String
            var title: String
            var node: String
            var state: String
            /// What the volume stands at; 0 where nothing was staged out.
            var generation: UInt64
        }

        struct Reader: Encodable {
            var volume: String
            var node: String
            var generation: UInt64
        }

        var leases: [Lease]
        var readers: [Reader]
        var nodes: [String]
        /// Whether they are taken away; false where that was only to be shown.
        var isDone: Bool

        init(_ left: NodeLeftovers, isDone: Bool) {
            leases = left.leases.map { listing, lease in
                Lease(
                    volume: listing.record.volume.rawValue, title: listing.record.title,
                    node: lease.holder.description, state: lease.state.rawValue,
                    generation: listing.head.newest?.number ?? 0)
            }
            readers = left.readers.map {
                Reader(volume: $0.volume.rawValue, node: $0.node.description, generation: $0.generation.number)
            }
            nodes = left.nodes.map(\.node.description)
            self.isDone = isDone
        }
    }

    mutating func run() async throws {
        let settings = try store.settings()
        // A store that does not honour conditions would let two nodes write.
        let catalog = Catalog(
            store: dryRun ? try await openExistingStore(settings) : try await openProvenStore(settings))
        let left = try await NodeLeftovers(of: whom, in: catalog)
        guard !left.isEmpty else {
            throw PerSSDError(
                .notFound, "nothing in \(catalog.store.location) is of '\(printable(whom))'",
                remedy: "'perssd nodes' lists the nodes that there are, and 'perssd volumes' who holds what")
        }
        if !json { Output.line(printable(left.text)) }
        if !dryRun {
            try left.requireSilent(at: Date())
            if !yes { try await Confirmation.require(whom, "Type \(whom) to take that away:") }
            try await left.takeAway(in: catalog)
        }
        guard !json else { return try Output.json(Report(left, isDone: !dryRun)) }
        if !dryRun { Output.line("all of that is taken away") }
    }
}
