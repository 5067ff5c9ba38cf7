import Digests
import Errors
import Foundation

/// `controllers/<cluster>/<instance>.json`: a controller's process, and how nodes know it. It is written anew at intervals
/// and goes when the process ends.
public struct ControllerRecord: Record, LivingRecord, Equatable {
    static let format = "perssd-controller"
    static let currentVersion = 1

    public var cluster: String
    /// Random, of this process alone.
    public var instance: String
    /// The certificate that it shows to nodes, in PEM. Its key never leaves the process.
    public var certificate: String
    public var startedAt: Date
    public var seenAt: Date
    /// In how many seconds at the latest it writes this again.
    public var interval: Int

    public init(cluster: String, certificate: String, startedAt: Date, interval: Int) {
        self.cluster = cluster
        instance = randomBytes(16).hex
        self.certificate = certificate
        self.startedAt = startedAt
        seenAt = startedAt
        self.interval = interval
    }
}

extension ControllerRecord: PlacedRecord {
    func isAt(_ key: ObjectKey) -> Bool { (try? CatalogKey.controller(cluster, instance)) == key }
}

extension Catalog {
    /// Writes what a controller says of itself; only that process does.
    public func save(_ record: ControllerRecord) async throws {
        _ = try await save(record, at: CatalogKey.controller(record.cluster, record.instance), condition: .none)
    }

    public func remove(_ record: ControllerRecord) async throws {
        try await store.remove(try CatalogKey.controller(record.cluster, record.instance))
    }

    /// The controllers of a cluster that have a record, those that died among them.
    public func controllers(of cluster: String) async throws -> [ControllerRecord] {
        let page = try await store.list(
            prefix: CatalogKey.controllers(of: cluster), after: nil, limit: 1000)
        return try await inOrder(page) { try await load(ControllerRecord.self, at: $0.key)?.value }
    }
}
