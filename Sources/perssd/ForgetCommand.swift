import ArgumentParser
import Blocking
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
            if !yes { try await confirm() }
            try await left.takeAway(in: catalog)
        }
        guard !json else { return try Output.json(Report(left, isDone: !dryRun)) }
        if !dryRun { Output.line("all of that is taken away") }
    }

    /// Asks for the name, so that nobody gives up by a slip of the finger what he did not mean.
    private func confirm() async throws {
        Output.note(printable("Type \(whom) to take that away:"))
        let answer = try await BlockingPool.shared.run { readLine() }
        guard answer == whom else {
            throw PerSSDError(
                .failedPrecondition, "not confirmed: nothing was changed", remedy: "type the name, or give --yes")
        }
    }
}

/// What the bucket holds for nodes.
struct NodeLeftovers: Sendable {
    let cluster: String
    /// nil for all of the cluster's.
    let node: String?
    var leases: [(listing: VolumeListing, lease: Lease)] = []
    var readers: [ReaderRecord] = []
    var nodes: [NodeRecord] = []

    var isEmpty: Bool { leases.isEmpty && readers.isEmpty && nodes.isEmpty }

    /// - Parameter whom: "cluster/node", or "cluster".
    /// - Throws: `invalidArgument` where it is neither.
    init(of whom: String, in catalog: Catalog) async throws {
        let parts = whom.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        let named = try NodeReference(cluster: parts[0], node: parts.count > 1 ? parts[1] : "any")
        (cluster, node) = (named.cluster, parts.count > 1 ? named.node : nil)
        for listing in try await catalog.allVolumes() {
            if let lease = listing.head.lease, isMeant(lease.holder) { leases.append((listing, lease)) }
            readers += try await catalog.readers(of: listing.record.volume).filter { isMeant($0.node) }
        }
        nodes = try await catalog.nodes(of: cluster).filter { isMeant($0.node) }
    }

    private func isMeant(_ other: NodeReference) -> Bool {
        other.cluster == cluster && (node == nil || other.node == node)
    }

    var text: String {
        var table = Table([("WHAT", .left), ("NODE", .left), ("VOLUME", .left), ("THEN", .left)])
        for (listing, lease) in leases {
            let newest = listing.head.newest.map { "generation \($0.number)" } ?? "its creation"
            table.add([
                "lease, \(lease.state.rawValue)", lease.holder.description, listing.record.title,
                lease.state == .open
                    ? "goes back to \(newest); what was written since is missing" : "nothing is missing",
            ])
        }
        for reader in readers {
            table.add([
                "reader", reader.node.description, reader.volume.rawValue,
                "generation \(reader.generation.number) is not kept for it any more",
            ])
        }
        for node in nodes {
            table.add(["node", node.node.description, "-", "last seen \(Output.time(node.seenAt)) UTC"])
        }
        return table.text
    }

    /// - Throws: `failedPrecondition` where one of the nodes is alive.
    func requireSilent(at now: Date) throws {
        let alive = nodes.filter { $0.isAlive(at: now) }.map(\.node.description)
        guard alive.isEmpty else {
            throw PerSSDError(
                .failedPrecondition, "alive, by what the bucket says: \(alive.joined(separator: ", "))",
                remedy: "end the node plugins there and wait for 90 seconds, or revoke single leases with "
                    + "'perssd lease VOLUME --revoke'")
        }
    }

    /// Leases first, and the nodes' records last: what is cut short can be done again.
    ///
    /// - Throws: `failedPrecondition` where a lease has changed since it was looked at.
    func takeAway(in catalog: Catalog) async throws {
        for (listing, lease) in leases {
            let now = catalog.time
            _ = try await catalog.updateHead(listing.record.volume, incarnation: listing.record.incarnation) { head in
                // Somebody else has taken it away, or given it to another.
                guard let current = head.lease, isMeant(current.holder) else { return head }
                guard head.epoch == listing.head.epoch, current.state == lease.state,
                    head.newest == listing.head.newest
                else {
                    throw PerSSDError(
                        .failedPrecondition,
                        "the lease of volume \(listing.record.title) has changed meanwhile: now it is \(leaseText(head))",
                        remedy: "node \(current.holder) lives: look again")
                }
                return head.revoking(now: now)
            }
        }
        for reader in readers { try await catalog.removeReaders(reader.node, of: reader.volume) }
        for node in nodes { try await catalog.remove(node) }
    }
}
