import Errors
import Foundation

/// `pins/<volume>/<label>.json`: somebody wants to keep a generation, under a name of his own.
public struct PinRecord: Record, Equatable {
    static let format = "perssd-pin"
    static let currentVersion = 1

    public var volume: VolumeID
    public var label: String
    public var lineage: String
    public var generation: GenerationReference
    public var createdAt: Date

    public init(volume: VolumeID, label: String, lineage: String, generation: GenerationReference, createdAt: Date) {
        self.volume = volume
        self.label = label
        self.lineage = lineage
        self.generation = generation
        self.createdAt = createdAt
    }
}

extension PinRecord: PlacedRecord {
    func isAt(_ key: ObjectKey) -> Bool { (try? CatalogKey.pin(volume, label)) == key }
}

extension CatalogKey {
    static let pins = "pins/"

    static func pin(_ volume: VolumeID, _ label: String) throws -> ObjectKey {
        try ObjectKey("\(pins)\(volume)/\(label).json")
    }
}

extension Catalog {
    /// Keeps a generation under a label; the same again is fine.
    ///
    /// - Throws: `invalidArgument` where the label cannot be part of a key; `alreadyExists` where it names another
    ///   generation of the volume; `notFound` where the generation has expired.
    @discardableResult
    public func pin(
        _ generation: GenerationReference, of volume: VolumeID, lineage: String, label: String
    ) async throws -> PinRecord {
        guard let part = try? ObjectKey(label), !part.path.contains("/"), label.utf8.count <= 200 else {
            throw PerSSDError(
                .invalidArgument, "'\(label.prefix(80))' is no valid label",
                remedy: "use up to 200 letters, digits, '-', '_' and '.'")
        }
        let record = PinRecord(
            volume: volume, label: label, lineage: lineage, generation: generation, createdAt: time)
        let key = try CatalogKey.pin(volume, label)
        let standing = try await establish(record, at: key) { _ in false }.value
        guard standing.generation == generation else {
            throw PerSSDError(
                .alreadyExists, "label '\(label)' of volume \(volume) names \(standing.generation) already",
                remedy: "choose another label, or remove that pin")
        }
        if try await secure(generation, lineage: lineage) != nil { return standing }
        try await store.remove(key)
        throw try await reasonMissing(generation, lineage: lineage)
    }

    /// Fine where there is no such pin.
    public func unpin(_ label: String, of volume: VolumeID) async throws {
        try await store.remove(CatalogKey.pin(volume, label))
    }

    public func pins(of volume: VolumeID) async throws -> [PinRecord] {
        try await all(PinRecord.self, below: "\(CatalogKey.pins)\(volume)/")
    }

    /// All records below a folder.
    func all<Value: PlacedRecord>(_ type: Value.Type, below folder: String) async throws -> [Value] {
        var found: [Value] = []
        var last: ObjectKey?
        while true {
            let page = try await store.list(prefix: folder, after: last, limit: 1000)
            found += try await inOrder(page) { try await load(Value.self, at: $0.key)?.value }
            guard let end = page.last else { return found }
            last = end.key
        }
    }
}
