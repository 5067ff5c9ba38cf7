import Errors
import Foundation

extension Catalog {
    /// Writes what a node says of itself; only the node does.
    public func save(_ record: NodeRecord) async throws {
        _ = try await save(record, at: CatalogKey.node(record.node), condition: .none)
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
