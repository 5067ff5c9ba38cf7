import Digests
import Errors
import Foundation

/// The records in the bucket: the only truth about volumes, heads, generations and nodes. It keeps nothing in memory, so
/// any number of processes may use one at a time.
///
/// All methods throw `PerSSDError`; those of the store (`unavailable` and so on) come through.
public struct Catalog: Sendable {
    public let store: any ObjectStore
    private let now: @Sendable () -> Date
    /// How often a step is tried anew against others who do the opposite.
    static let patience = 20
    /// How many records are read at a time where many are needed.
    static let parallelReads = 16

    public init(store: any ObjectStore, now: @escaping @Sendable () -> Date = { Date() }) {
        self.store = store
        self.now = now
    }

    /// The time that records get: whole seconds, as their text has, so that a record reads back as it was written.
    public var time: Date { Date(timeIntervalSince1970: now().timeIntervalSince1970.rounded(.down)) }
}

/// A record whose place in the bucket follows from what it says.
protocol PlacedRecord: Record {
    func isAt(_ key: ObjectKey) -> Bool
}

extension VolumeRecord: PlacedRecord {
    func isAt(_ key: ObjectKey) -> Bool { (try? CatalogKey.volume(volume)) == key }
}

extension Head: PlacedRecord {
    func isAt(_ key: ObjectKey) -> Bool { (try? CatalogKey.head(volume)) == key }
}

extension GenerationRecord: PlacedRecord {
    func isAt(_ key: ObjectKey) -> Bool {
        (try? CatalogKey.generation(volume, incarnation, number)) == key
            || (try? CatalogKey.branch(volume, incarnation, epoch: epoch)) == key
    }
}

extension NodeRecord: PlacedRecord {
    func isAt(_ key: ObjectKey) -> Bool { (try? CatalogKey.node(node)) == key }
}

/// A record and the version of its object, for a later compare-and-swap.
public struct Versioned<Value: Sendable>: Sendable {
    public var value: Value
    public var etag: ETag

    public init(_ value: Value, _ etag: ETag) { (self.value, self.etag) = (value, etag) }
}

extension Catalog {
    /// - Throws: `corrupt` where the object is no such record, or is the record of something else.
    func load<Value: PlacedRecord>(_ type: Value.Type, at key: ObjectKey) async throws -> Versioned<Value>? {
        guard let object = try await store.read(key) else { return nil }
        let record = try Value(decoding: object.bytes, from: key)
        guard record.isAt(key) else {
            throw PerSSDError(
                .corrupt, "object \(key) holds the \(Value.format) record of something else",
                remedy: "restore the object from a backup or an older version of it")
        }
        return Versioned(record, object.etag)
    }

    /// - Throws: `conflict` where the condition does not hold.
    func save(_ record: some Record, at key: ObjectKey, condition: WriteCondition) async throws -> ETag {
        try await store.write(key, try record.encoded(), condition: condition)
    }

    /// Makes a record, or replaces one that is over, as `replacing` sees it.
    ///
    /// - Parameter replacing: says of the record that is there whether it may be overwritten.
    /// - Returns: the record that stands afterwards: the new one, or the one that was there.
    func establish<Value: PlacedRecord>(
        _ record: Value, at key: ObjectKey, replacing: (Value) -> Bool
    ) async throws -> Versioned<Value> {
        while true {
            let existing = try await load(Value.self, at: key)
            if let existing, !replacing(existing.value) { return existing }
            do {
                let condition: WriteCondition = existing.map { .matches($0.etag) } ?? .absent
                return Versioned(record, try await save(record, at: key, condition: condition))
            } catch let error as PerSSDError where error.code == .conflict {
                // Another process was faster; what it wrote is looked at anew.
                try Task.checkCancellation()
            }
        }
    }

    /// Asks about many things, some at a time.
    ///
    /// - Returns: the answers in the order of the questions, without those that are nil.
    func inOrder<Question: Sendable, Answer: Sendable>(
        _ questions: [Question], _ ask: @escaping @Sendable (Question) async throws -> Answer?
    ) async throws -> [Answer] {
        try await withThrowingTaskGroup(of: (Int, Answer?).self) { group in
            var answers = [Answer?](repeating: nil, count: questions.count)
            for (index, question) in questions.enumerated() {
                if index >= Self.parallelReads, let (done, answer) = try await group.next() { answers[done] = answer }
                group.addTask { (index, try await ask(question)) }
            }
            for try await (done, answer) in group { answers[done] = answer }
            return answers.compactMap { $0 }
        }
    }
}

/// Where records are.
enum CatalogKey {
    static let volumes = "volumes/"
    static let nodes = "nodes/"

    static func controllers(of cluster: String) -> String { "controllers/\(cluster)/" }

    static func controller(_ cluster: String, _ instance: String) throws -> ObjectKey {
        try ObjectKey(controllers(of: cluster) + "\(instance).json")
    }

    static let snapshots = "snapshots/"
    static let groups = "groups/"
    static let lineages = "lineages/"

    static func volume(_ id: VolumeID) throws -> ObjectKey { try ObjectKey("volumes/\(id)/volume.json") }
    static func head(_ id: VolumeID) throws -> ObjectKey { try ObjectKey("volumes/\(id)/head.json") }

    /// The incarnation is part of the path, so that a slow deletion of a volume's former life cannot touch its next.
    static func generations(_ id: VolumeID, _ incarnation: Incarnation) -> String {
        "volumes/\(id)/generations/\(incarnation)/"
    }

    static func generation(_ id: VolumeID, _ incarnation: Incarnation, _ number: UInt64) throws -> ObjectKey {
        try ObjectKey(generations(id, incarnation) + "\(number).json")
    }

    static func branches(_ id: VolumeID, _ incarnation: Incarnation) -> String {
        "volumes/\(id)/branches/\(incarnation)/"
    }

    static func branch(_ id: VolumeID, _ incarnation: Incarnation, epoch: UInt64) throws -> ObjectKey {
        try ObjectKey(branches(id, incarnation) + "\(epoch).json")
    }

    static func snapshot(_ id: SnapshotID) throws -> ObjectKey { try ObjectKey("\(snapshots)\(id).json") }

    static func group(_ id: GroupSnapshotID) throws -> ObjectKey { try ObjectKey("\(groups)\(id).json") }

    static func collection(lineage: String) throws -> ObjectKey {
        try ObjectKey("\(lineages)\(lineage)/collection.json")
    }

    static func node(_ reference: NodeReference) throws -> ObjectKey {
        try ObjectKey("nodes/\(reference.cluster)/\(reference.node).json")
    }
}
