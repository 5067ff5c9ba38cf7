import CSI
import Errors
import Persistence
import Units

/// Where volumes of a pool can be: which nodes have it, and how much of it.
struct Placement {
    var pool: String
    /// The nodes that were asked about.
    var nodes: [NodeRecord]
    /// Those of them that have the pool and are in one of the topologies that were asked for.
    var candidates: [(node: NodeRecord, pool: NodeRecord.PoolReport)]

    /// - Parameter topologies: any of them will do; none where it does not matter.
    init(pool: String, nodes: [NodeRecord], in topologies: [Topology]) {
        self.pool = pool
        self.nodes = nodes
        candidates = nodes.compactMap { node in
            guard let report = node.pool(pool) else { return nil }
            guard topologies.isEmpty || topologies.contains(where: { $0.contains(node) }) else { return nil }
            return (node, report)
        }
    }

    /// That a volume of this size could be on one of the nodes, were its pool empty.
    ///
    /// - Throws: `resourceExhausted` saying what there is.
    func require(capacity: UInt64, in topologies: [Topology]) throws {
        guard let largest = candidates.max(by: { $0.pool.totalBytes < $1.pool.totalBytes }) else {
            let place = topologies.isEmpty ? "" : " in the topology that is asked for, \(Self.text(topologies)),"
            let pools = Set(nodes.flatMap { $0.pools.map(\.name) }).sorted()
            let known = pools.isEmpty ? "none" : pools.prefix(10).joined(separator: ", ")
            throw PerSSDError(
                .resourceExhausted, "no node\(place) has pool '\(pool)'; the pools there are: \(known)",
                remedy: "correct the StorageClass's parameter pool, or start the node plugin on a node with this pool")
        }
        guard largest.pool.totalBytes >= capacity else {
            throw PerSSDError(
                .resourceExhausted,
                "a volume of \(ByteCount(capacity)) has no room in pool '\(pool)' of any node: the largest has "
                    + "\(ByteCount(largest.pool.totalBytes)) in all, on node \(largest.node.node.node)",
                remedy: "ask for less, or add storage to the pool")
        }
    }

    private static func text(_ topologies: [Topology]) -> String {
        let shown = topologies.prefix(5).map { topology in
            topology.segments.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: ",")
        }
        return shown.joined(separator: " or ") + (topologies.count > 5 ? " and so on" : "")
    }
}

extension Topology {
    /// Whether a node is here. A key that no node of this plugin has never matches.
    fileprivate func contains(_ node: NodeRecord) -> Bool {
        segments.allSatisfy { key, value in
            if key == Driver.TopologyKey.node { return node.node.node == value }
            let prefix = Driver.TopologyKey.poolPrefix
            guard key.hasPrefix(prefix), value == Driver.TopologyKey.poolValue else { return false }
            return node.pool(String(key.dropFirst(prefix.count))) != nil
        }
    }
}

extension ControllerPlugin {
    /// Which of this cluster's nodes have a pool. Where only a few named ones are asked about, only those are read.
    func placement(of pool: String, in topologies: [Topology]) async throws -> Placement {
        let names = Set(topologies.map { $0.segments[Driver.TopologyKey.node] })
        guard !topologies.isEmpty, !names.contains(nil), names.count <= 8 else {
            return Placement(pool: pool, nodes: try await catalog.nodes(of: cluster), in: topologies)
        }
        var nodes: [NodeRecord] = []
        for name in names.compactMap({ $0 }) {
            guard let reference = nodeReference(name), let node = try await catalog.node(reference) else { continue }
            nodes.append(node)
        }
        return Placement(pool: pool, nodes: nodes, in: topologies)
    }
}
