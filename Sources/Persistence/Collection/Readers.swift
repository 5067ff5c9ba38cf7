import Errors
import Foundation

/// `readers/<volume>/<cluster>/<node>/<incarnation>-<number>.json`: a node reads a generation, published for many nodes. It
/// keeps the generation until the node, or the controller for it, says that it is over.
public struct ReaderRecord: Record, Equatable {
    static let format = "perssd-reader"
    static let currentVersion = 1

    public var node: NodeReference
    /// The volume that is published, and which life of it.
    public var volume: VolumeID
    public var incarnation: Incarnation
    public var lineage: String
    public var generation: GenerationReference
    public var since: Date
    /// How the controller published it; nil where the node began by itself, as no controller attaches there.
    public var publication: Lease.Publication?

    public init(
        node: NodeReference, volume: VolumeID, incarnation: Incarnation, lineage: String,
        generation: GenerationReference, since: Date, publication: Lease.Publication? = nil
    ) {
        self.node = node
        self.volume = volume
        self.incarnation = incarnation
        self.lineage = lineage
        self.generation = generation
        self.since = since
        self.publication = publication
    }

    /// - Parameter wanted: nil where no controller asks.
    /// - Throws: `alreadyExists` where it is published in another way.
    func requireSame(_ wanted: Lease.Publication?) throws {
        guard let wanted, let held = publication, held != wanted else { return }
        throw PerSSDError(
            .alreadyExists, "volume \(volume) is published on node \(node) already as \(held)",
            remedy: "unpublish it there first")
    }

    /// For how long a node may give no sign of life before what it reads is kept for it no more.
    ///
    /// Long enough for a cluster that is turned off over a holiday, as its nodes do not need the generation as long as they
    /// live: a reader has all of it in its local copy.
    public static let lifetime: Duration = .seconds(7 * 86_400)
}

extension ReaderRecord: PlacedRecord {
    func isAt(_ key: ObjectKey) -> Bool { (try? CatalogKey.reader(self)) == key }
}

extension CatalogKey {
    static let readers = "readers/"

    /// Which generation it is, is part of the key: a late removal of an old one cannot hit a new one.
    static func reader(_ record: ReaderRecord) throws -> ObjectKey {
        let (folder, generation) = (readerFolder(record.volume, record.node), record.generation)
        return try ObjectKey("\(folder)\(generation.incarnation)-\(generation.number).json")
    }

    static func readerFolder(_ volume: VolumeID, _ node: NodeReference) -> String {
        readerFolder(volume, cluster: node.cluster) + "\(node.node)/"
    }

    static func readerFolder(_ volume: VolumeID, cluster: String) -> String { "\(readers)\(volume)/\(cluster)/" }
}

extension Head {
    /// That a node may begin to read the volume: what is newest is all there is. Whoever reads while another node writes
    /// would see old contents, without knowing it.
    ///
    /// - Returns: what it reads.
    /// - Throws: `failedPrecondition` while a node has the volume for writing and has not committed all, and where nothing was
    ///   ever committed.
    public func readable() throws -> GenerationReference {
        if let lease, lease.state != .closed {
            throw PerSSDError(
                .failedPrecondition,
                "volume \(volume) is held for writing by node \(lease.holder) (\(lease.state.rawValue) since "
                    + "\(lease.since.formatted(.iso8601))), and what is newest can be read only when that is over",
                remedy: "wait until that node has unpublished it, or read a snapshot of it")
        }
        guard let newest else {
            throw PerSSDError(
                .failedPrecondition, "volume \(volume) has never been written, so there is nothing to read",
                remedy: "write it first, with access mode ReadWriteOnce")
        }
        return newest
    }
}

extension Catalog {
    /// Keeps a generation for as long as a node reads it. Fine where the node reads it already.
    ///
    /// - Parameter publication: nil where no controller publishes it.
    /// - Returns: the generation's record.
    /// - Throws: `notFound` where the generation has expired.
    @discardableResult
    public func addReader(
        _ node: NodeReference, of volume: VolumeID, _ incarnation: Incarnation, lineage: String,
        generation: GenerationReference, publication: Lease.Publication? = nil
    ) async throws -> GenerationRecord {
        let record = ReaderRecord(
            node: node, volume: volume, incarnation: incarnation, lineage: lineage, generation: generation,
            since: time, publication: publication)
        let key = try CatalogKey.reader(record)
        _ = try await establish(record, at: key) { $0.generation != generation || $0.incarnation != incarnation }
        if let contents = try await secure(generation, lineage: lineage) { return contents }
        try await store.remove(key)
        throw try await reasonMissing(generation, lineage: lineage)
    }

    /// Lets a node read what is newest of a volume, or finds what an earlier try let it read.
    ///
    /// It goes on reading that, whoever writes the volume meanwhile. A deletion of the volume that comes at the same time may
    /// succeed: the node then finds that there is no volume.
    /// - Throws: what `Head.readable` throws; `alreadyExists` where the node reads it in another way; `notFound` where the
    ///   volume is deleted.
    public func beginReading(
        _ listing: VolumeListing, by node: NodeReference, as publication: Lease.Publication?
    ) async throws -> ReaderRecord {
        let (id, incarnation) = (listing.record.volume, listing.record.incarnation)
        while true {
            if let existing = try await reader(of: listing, on: node) {
                try existing.requireSame(publication)
                return existing
            }
            let head = try await head(id).value
            guard head.incarnation == incarnation else { throw Self.noVolume(id) }
            if let lease = head.lease, lease.holder == node, lease.publication != nil {
                throw PerSSDError(
                    .alreadyExists, "volume \(id) is published on node \(node) already, for writing",
                    remedy: "unpublish it there first")
            }
            do {
                try await addReader(
                    node, of: id, incarnation, lineage: listing.record.lineage, generation: try head.readable(),
                    publication: publication)
            } catch let error as PerSSDError where error.code == .notFound {
                // It has expired, as another has been committed since; or the volume is deleted.
                guard try await self.head(id).value.newest != head.newest else { throw error }
                try Task.checkCancellation()
            }
        }
    }

    /// What a node reads of a volume in its present life; nil for nothing. Calls at the same time can have made several; they
    /// go together.
    public func reader(of listing: VolumeListing, on node: NodeReference) async throws -> ReaderRecord? {
        try await readers(of: listing.record.volume, on: node).filter { $0.incarnation == listing.record.incarnation }
            .max { $0.generation.number < $1.generation.number }
    }

    /// The node does not read the volume any more. Fine where it never did.
    ///
    /// - Parameter onlyOwn: leave it to the controller where that published it.
    public func removeReaders(_ node: NodeReference, of volume: VolumeID, onlyOwn: Bool = false) async throws {
        guard onlyOwn else { return try await removeAll(below: CatalogKey.readerFolder(volume, node)) }
        for reader in try await readers(of: volume, on: node) where reader.publication == nil {
            try await store.remove(CatalogKey.reader(reader))
        }
    }

    /// No node of the cluster reads the volume any more.
    public func removeReaders(cluster: String, of volume: VolumeID) async throws {
        try await removeAll(below: CatalogKey.readerFolder(volume, cluster: cluster))
    }

    private func removeAll(below folder: String) async throws {
        while true {
            let page = try await store.list(prefix: folder, after: nil, limit: 1000)
            for object in page { try await store.remove(object.key) }
            guard page.count == 1000 else { return }
        }
    }

    /// Who reads generations of a volume.
    public func readers(of volume: VolumeID) async throws -> [ReaderRecord] {
        try await all(ReaderRecord.self, below: "\(CatalogKey.readers)\(volume)/")
    }

    private func readers(of volume: VolumeID, on node: NodeReference) async throws -> [ReaderRecord] {
        try await all(ReaderRecord.self, below: CatalogKey.readerFolder(volume, node))
    }

    /// The nodes of a cluster that read some of these volumes, which are in the order of their ids.
    public func readingNodes(of volumes: [VolumeID], cluster: String) async throws -> [VolumeID: [String]] {
        // Where it is one volume, other clusters' readers need not be listed.
        let folder = volumes.count == 1 ? CatalogKey.readerFolder(volumes[0], cluster: cluster) : nil
        return try await readingNodes(of: volumes, below: folder).compactMapValues { nodes in
            let names = nodes.filter { $0.cluster == cluster }.map(\.node)
            return names.isEmpty ? nil : names
        }
    }

    /// The nodes of all clusters that read some of these volumes, which are in the order of their ids.
    public func readingNodes(of volumes: [VolumeID]) async throws -> [VolumeID: [NodeReference]] {
        try await readingNodes(of: volumes, below: nil)
    }

    /// Takes a listing of the readers between the first and the last volume, and reads none of the records.
    ///
    /// - Parameter folder: nil for all.
    private func readingNodes(
        of volumes: [VolumeID], below folder: String?
    ) async throws -> [VolumeID: [NodeReference]] {
        guard let first = volumes.first, let last = volumes.last else { return [:] }
        let prefix = folder ?? CatalogKey.readers
        var found: [VolumeID: Set<NodeReference>] = [:]
        var after: ObjectKey? = folder != nil ? nil : try ObjectKey("\(CatalogKey.readers)\(first)")
        while true {
            let page = try await store.list(prefix: prefix, after: after, limit: 1000)
            for object in page {
                let parts = object.key.path.split(separator: "/").map(String.init)
                guard parts.count == 5, let id = VolumeID(parts[1]) else { continue }
                found[id, default: []].insert(try NodeReference(cluster: parts[2], node: parts[3]))
            }
            guard let end = page.last?.key, end.path < "\(CatalogKey.readers)\(last)0" else { break }
            after = end
        }
        return found.mapValues { nodes in nodes.sorted { $0.description < $1.description } }
    }

    /// Takes away the records of readers whose nodes are lost.
    func forget(_ readers: [ReaderRecord]) async throws {
        for reader in readers { try await store.remove(CatalogKey.reader(reader)) }
    }

    /// Of these readers those whose node lives, or may come back.
    ///
    /// - Parameter now: by the same clock as that of the nodes.
    func living(_ readers: [ReaderRecord], at now: Date) async throws -> (living: [ReaderRecord], over: [ReaderRecord])
    {
        let nodes = try await inOrder(Array(Set(readers.map(\.node)))) { try await node($0) }
        let seen = Dictionary(uniqueKeysWithValues: nodes.map { ($0.node, $0.seenAt) })
        let lifetime = Double(ReaderRecord.lifetime.components.seconds)
        func isOver(_ reader: ReaderRecord) -> Bool {
            now.timeIntervalSince(max(reader.since, seen[reader.node] ?? reader.since)) > lifetime
        }
        return (readers.filter { !isOver($0) }, readers.filter(isOver))
    }
}
