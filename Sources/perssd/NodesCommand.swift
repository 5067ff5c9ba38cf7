import ArgumentParser
import Foundation
import Persistence
import Settings
import Units

struct NodesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "nodes", abstract: "Lists the nodes, their pools, and when they were last seen.",
        discussion: "It is what each node has last written into the bucket, by the node's own clock.")

    @OptionGroup(title: "Store") var store: StoreOptions
    @Flag(help: "Print one JSON array, for scripts.") var json = false

    mutating func run() async throws {
        let catalog = Catalog(store: try await openExistingStore(store.settings()))
        var nodes: [NodeRecord] = []
        for cluster in try await catalog.clusters() { nodes += try await catalog.nodes(of: cluster) }
        let now = Date()
        guard !json else { return try Output.json(nodes.map { NodeDescription($0, now: now) }) }
        guard !nodes.isEmpty else { return Output.line("no nodes in \(catalog.store.location)") }
        var table = Table([
            ("NODE", .left), ("STATE", .left), ("SEEN (UTC)", .left), ("POOL", .left), ("SIZE", .right),
            ("FREE", .right), ("EVICTABLE", .right),
        ])
        for node in nodes {
            let who = [
                node.node.description, node.isAlive(at: now) ? "alive" : "silent", Output.time(node.seenAt),
            ]
            if node.pools.isEmpty { table.add(who + ["-", "-", "-", "-"]) }
            for (number, pool) in node.pools.enumerated() {
                table.add(
                    (number == 0 ? who : ["", "", ""]) + [
                        pool.name, ByteCount(pool.totalBytes).description, ByteCount(pool.freeBytes).description,
                        ByteCount(pool.evictableBytes).description,
                    ])
            }
        }
        Output.line(table.text)
    }
}

/// A node as `--json` shows it. Keys stay; new ones may come.
private struct NodeDescription: Encodable {
    struct Pool: Encodable {
        var name: String
        var totalBytes: UInt64
        var freeBytes: UInt64
        /// Held by clean local copies that nobody uses.
        var evictableBytes: UInt64
    }

    var cluster: String
    var node: String
    /// As far as the bucket can tell: it has not missed three of its intervals.
    var isAlive: Bool
    var startedAt: Date
    var seenAt: Date
    var intervalSeconds: Int
    var pools: [Pool]

    init(_ record: NodeRecord, now: Date) {
        cluster = record.node.cluster
        node = record.node.node
        isAlive = record.isAlive(at: now)
        startedAt = record.startedAt
        seenAt = record.seenAt
        intervalSeconds = record.interval
        pools = record.pools.map {
            Pool(
                name: $0.name, totalBytes: $0.totalBytes, freeBytes: $0.freeBytes, evictableBytes: $0.evictableBytes)
        }
    }
}
