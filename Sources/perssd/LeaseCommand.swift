import ArgumentParser
import Errors
import Foundation
import Persistence
import Settings
import Units

struct LeaseCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lease",
        abstract: "Shows which nodes have a volume, to write or to read, and takes the right to write away.",
        discussion: """
            --revoke is for a node that will not come back, where nobody waits for it: no controller runs, or the volume's \
            nodeLossTimeout is too long. What the node has written since the newest generation does not become part of \
            the volume; should the node come back, it keeps that work as a branch. The orchestrator is not told: where it \
            still has the volume attached to the node, detach it there, too.
            """)

    @Argument(help: "The volume: id, name, or namespace/claim.") var volume: VolumeArgument
    @Flag(help: "Take the lease away, once that is confirmed.") var revoke = false
    @Flag(help: "With --revoke: do not ask for confirmation.") var yes = false
    @OptionGroup(title: "Store") var store: StoreOptions
    @Flag(help: "Print one JSON object, for scripts.") var json = false

    func validate() throws {
        guard volume.state == nil else { throw ValidationError("give the volume without a generation") }
        guard revoke || !yes else { throw ValidationError("--yes is for --revoke") }
    }

    mutating func run() async throws {
        let settings = try store.settings()
        // A store that does not honour conditions would let two nodes write.
        let catalog = Catalog(
            store: revoke ? try await openProvenStore(settings) : try await openExistingStore(settings))
        let listing = try await VolumeFinder(catalog: catalog).volume(volume.volume)
        let state = try await LeaseState(listing, in: catalog)
        guard revoke else {
            return json ? try Output.json(LeaseDescription(state)) : Output.line(state.text)
        }
        guard let lease = state.head.lease else {
            throw PerSSDError(
                .failedPrecondition, "nobody holds volume '\(listing.record.title)': there is no lease to revoke")
        }
        if !yes { try await confirm(state, lease) }
        let after = try await Self.revoke(state, in: catalog)
        guard !json else {
            return try Output.json(LeaseDescription(try await LeaseState(after, of: listing.record, in: catalog)))
        }
        let newest = after.newest.map { "stands at generation \($0.number)" } ?? "has no generation"
        Output.line(
            printable(
                "the lease that \(lease.holder) had of \(listing.record.title) is revoked: the volume is at epoch "
                    + "\(after.epoch), and \(newest)"))
    }

    private func confirm(_ state: LeaseState, _ lease: Lease) async throws {
        Output.note(printable(state.warning(lease)))
        let title = state.record.title
        try await Confirmation.require(title, "Type the volume's name, \(title), to revoke the lease:")
    }

    /// Takes away the lease that was shown, and no other.
    private static func revoke(_ state: LeaseState, in catalog: Catalog) async throws -> Head {
        let (shown, now) = (state.head, catalog.time)
        return try await catalog.updateHead(shown.volume, incarnation: shown.incarnation) { head in
            guard head.epoch == shown.epoch, head.lease?.holder == shown.lease?.holder,
                head.lease?.state == shown.lease?.state, head.newest == shown.newest
            else {
                throw PerSSDError(
                    .failedPrecondition, "the lease has changed meanwhile: now it is \(leaseText(head))",
                    remedy: "look at it again, and decide anew")
            }
            return head.revoking(now: now)
        }.value
    }
}

/// All that the bucket says of who may write a volume.
private struct LeaseState {
    let record: VolumeRecord
    let head: Head
    /// Of the node that holds it; nil where it has none.
    let holder: NodeRecord?
    let branches: [GenerationRecord]
    /// In the order of their nodes.
    let readers: [ReaderRecord]
    let now: Date

    init(_ listing: VolumeListing, in catalog: Catalog) async throws {
        try await self.init(listing.head, of: listing.record, in: catalog)
    }

    init(_ head: Head, of record: VolumeRecord, in catalog: Catalog) async throws {
        (self.head, self.record) = (head, record)
        if let lease = head.lease { holder = try await catalog.node(lease.holder) } else { holder = nil }
        branches = try await catalog.branches(of: head.volume, head.incarnation)
        readers = try await catalog.readers(of: head.volume)
            .filter { $0.incarnation == head.incarnation }.sorted { $0.node.description < $1.node.description }
        now = Date()
    }

    private var newest: String { head.newest.map { "generation \($0.number)" } ?? "none" }

    var text: String {
        var fields = [
            ("volume", "\(record.title) (\(record.volume))"), ("lease", leaseText(head)), ("epoch", "\(head.epoch)"),
            ("newest", newest),
        ]
        if let lease = head.lease {
            fields.append(("held since", "\(Output.time(lease.since)) UTC"))
            if lease.isHeldBack, let until = lease.heldBackUntil {
                fields.append(("held back", "for a pod that may come next, until \(Output.time(until)) UTC"))
            }
            let isWithdrawn = lease.isHeldBack && lease.publication == nil
            fields.append(
                (
                    "attached",
                    isWithdrawn ? "no more" : lease.publication == nil ? "by the node itself" : "by a controller"
                ))
            if let asked = lease.detachRequestedAt {
                fields.append(("asked back", "\(Output.time(asked)) UTC"))
            }
            if let silent = lease.silentSince {
                fields.append(("silent since", "\(Output.time(silent)) UTC, by the controller's clock"))
            }
            fields.append(("node", life))
        }
        if let loss = head.loss {
            let newest = loss.newestGeneration == 0 ? "its creation" : "generation \(loss.newestGeneration)"
            fields.append(
                (
                    "loss",
                    "what \(loss.node) wrote since \(newest) at epoch \(loss.epoch), open from "
                        + "\(Output.time(loss.openSince)) to \(Output.time(loss.revokedAt)) UTC, was given up"
                ))
        }
        for reader in readers {
            let by = reader.publication == nil ? "by the node itself" : "by a controller"
            fields.append(
                (
                    "reader",
                    "\(reader.node) reads generation \(reader.generation.number) since \(Output.time(reader.since)) UTC, "
                        + "attached \(by)"
                ))
        }
        for branch in branches {
            fields.append(
                (
                    "branch",
                    "epoch \(branch.epoch), from \(branch.provenance.node), cut at "
                        + "\(Output.time(branch.provenance.cutAt)) UTC"
                ))
        }
        return Output.fields(fields)
    }

    /// Whether the holder lives, in words.
    private var life: String {
        guard let holder else { return "it has no record in the bucket" }
        let seen = "seen at \(Output.time(holder.seenAt)) UTC"
        return holder.isAlive(at: now) ? "alive, \(seen)" : "silent, \(seen)"
    }

    func warning(_ lease: Lease) -> String {
        let what =
            switch lease.state {
            case .granted:
                "Node \(lease.holder) was given volume \(record.title) and has not begun to write. Nothing is lost, and a "
                    + "pod that is about to start there does not."
            case .open where lease.isHeldBack:
                "WARNING: node \(lease.holder) holds back what it has not committed of volume \(record.title). What was written "
                    + "since the newest generation (\(newest)) will be missing from the volume: it is kept as a branch by the "
                    + "node, if that is not lost. No pod writes the volume now."
            case .open:
                "WARNING: node \(lease.holder) writes volume \(record.title) since \(Output.time(lease.since)) UTC. What it "
                    + "has written since the newest generation (\(newest)) will be missing from the volume: it is kept as "
                    + "a branch should the node come back, and is lost if not. A pod that still runs there goes on "
                    + "writing what nobody will see."
            case .closed:
                "All that node \(lease.holder) has written to volume \(record.title) is committed. Nothing is lost."
            }
        let mayWrite = lease.state == .open && !lease.isHeldBack && holder?.isAlive(at: now) ?? false
        return what + (mayWrite ? " THE NODE IS ALIVE: end the pod instead, if you can." : " The node: \(life).")
    }
}

/// A lease as `--json` shows it. Keys stay; new ones may come.
private struct LeaseDescription: Encodable {
    struct Lease: Encodable {
        var node: String
        var state: String
        var since: Date
        /// Whether a controller gave it, and will ask for it back.
        var isAttached: Bool
        var heldBackUntil: Date?
        var detachRequestedAt: Date?
        var silentSince: Date?
        var nodeSeenAt: Date?
        var nodeIsAlive: Bool
    }

    struct Loss: Encodable {
        var node: String
        var epoch: UInt64
        var newestGeneration: UInt64
        var openSince: Date
        var revokedAt: Date
    }

    struct Branch: Encodable {
        var epoch: UInt64
        var node: String
        var cutAt: Date
    }

    struct Reader: Encodable {
        var node: String
        var generation: UInt64
        var since: Date
        var isAttached: Bool
    }

    var volume: String
    var epoch: UInt64
    /// 0 where nothing has been staged out.
    var generation: UInt64
    var lease: Lease?
    var loss: Loss?
    var branches: [Branch]
    /// The nodes that have the volume to read, and what they read.
    var readers: [Reader]

    init(_ state: LeaseState) {
        volume = state.record.volume.rawValue
        epoch = state.head.epoch
        generation = state.head.newest?.number ?? 0
        lease = state.head.lease.map {
            Lease(
                node: $0.holder.description, state: $0.state.rawValue, since: $0.since,
                isAttached: $0.publication != nil, heldBackUntil: $0.isHeldBack ? $0.heldBackUntil : nil,
                detachRequestedAt: $0.detachRequestedAt,
                silentSince: $0.silentSince, nodeSeenAt: state.holder?.seenAt,
                nodeIsAlive: state.holder?.isAlive(at: state.now) ?? false)
        }
        loss = state.head.loss.map {
            Loss(
                node: $0.node.description, epoch: $0.epoch, newestGeneration: $0.newestGeneration,
                openSince: $0.openSince, revokedAt: $0.revokedAt)
        }
        branches = state.branches.map {
            Branch(epoch: $0.epoch, node: $0.provenance.node.description, cutAt: $0.provenance.cutAt)
        }
        readers = state.readers.map {
            Reader(
                node: $0.node.description, generation: $0.generation.number, since: $0.since,
                isAttached: $0.publication != nil)
        }
    }
}
