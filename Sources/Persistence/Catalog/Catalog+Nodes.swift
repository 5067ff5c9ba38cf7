import Errors
import Foundation

extension Catalog {
    /// Writes what a node says of itself; only the node does.
    public func save(_ record: NodeRecord) async throws {
        _ = try await save(record, at: CatalogKey.node(record.node), condition: .none)
    }

    /// Takes away what a node said of itself, unless it has said something new since.
    ///
    /// - Throws: `failedPrecondition` where it has.
    public func remove(_ record: NodeRecord) async throws {
        guard let standing = try await node(record.node) else { return }
        guard standing == record else {
            throw PerSSDError(
                .failedPrecondition,
                "node \(record.node) has written its record anew at \(standing.seenAt), so it lives",
                remedy: "end its node plugin first")
        }
        try await store.remove(CatalogKey.node(record.node))
    }

    /// nil where no such node has ever registered.
    public func node(_ reference: NodeReference) async throws -> NodeRecord? {
        try await load(NodeRecord.self, at: CatalogKey.node(reference))?.value
    }

    /// The nodes of a cluster, in the order of their names.
    public func nodes(of cluster: String) async throws -> [NodeRecord] {
        var found: [NodeRecord] = []
        var last: ObjectKey?
        while true {
            let page = try await store.list(prefix: "\(CatalogKey.nodes)\(cluster)/", after: last, limit: 1000)
            found += try await inOrder(page) { try await load(NodeRecord.self, at: $0.key)?.value }
            guard let end = page.last, page.count == 1000 else { return found }
            last = end.key
        }
    }
}
