import Errors
import Foundation
import Persistence

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
