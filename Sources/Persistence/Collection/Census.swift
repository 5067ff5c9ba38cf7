import Errors

/// What the bucket holds that the collection of garbage has to know of, read once.
///
/// Each lineage's collection record is read before anything else: whatever that record names was condemned before the pins
/// were read.
struct Census: Sendable {
    /// One life of a volume.
    struct Life: Sendable {
        var volume: VolumeID
        var incarnation: Incarnation
        /// nil where this life is over.
        var head: Head?
        /// nil where the present record is that of another life, or missing.
        var record: VolumeRecord?
        /// Generations, by number, and branches, by epoch.
        var generations: [UInt64] = []
        var branches: [UInt64] = []
        /// Set where nobody can tell whether it is over, because the volume's head is missing.
        var isHeadMissing = false
    }

    /// What pins one generation, and what to call that.
    struct Pin: Sendable {
        var generation: GenerationReference
        var what: String
    }

    struct Lineage: Sendable {
        var name: String
        var collection: Versioned<CollectionRecord>?
        var packs: [PackID: ObjectInfo] = [:]
        var moved: [PackID] = []
        var lives: [Life] = []
        var pins: [Pin] = []
        /// Snapshots that wait for a generation of a life: all that is newer is kept.
        var awaited: [(incarnation: Incarnation, after: UInt64)] = []
        /// What cannot be understood. Nothing of such a lineage is removed.
        var findings: [PerSSDError] = []

        init(_ name: String) { self.name = name }
    }

    private(set) var lineages: [String: Lineage] = [:]
    /// Readers whose nodes have been silent for so long that they pin nothing any more.
    private(set) var lostReaders: [ReaderRecord] = []

    static func take(_ catalog: Catalog) async throws -> Census {
        var census = Census()
        try await census.readLineages(catalog)
        try await census.readVolumes(catalog)
        try await census.readPins(catalog)
        return census
    }

    private mutating func readLineages(_ catalog: Catalog) async throws {
        var collections: [ObjectKey] = []
        try await forEach(CatalogKey.lineages, in: catalog.store) { object in
            let parts = object.key.path.split(separator: "/")
            guard parts.count >= 3 else { return }
            let name = String(parts[1])
            switch (parts[2], parts.count) {
            case ("collection.json", 3): collections.append(object.key)
            case ("packs", 4):
                if let pack = PackID(hex: String(parts[3])) {
                    lineages[name, default: Lineage(name)].packs[pack] = object
                }
            case ("moved", 4):
                if let pack = PackID(hex: String(parts[3])) {
                    lineages[name, default: Lineage(name)].moved.append(pack)
                }
            default: break
            }
        }
        let found = try await catalog.inOrder(collections) { try await catalog.load(CollectionRecord.self, at: $0) }
        for collection in found {
            let name = collection.value.lineage
            lineages[name, default: Lineage(name)].collection = collection
        }
    }

    private mutating func readVolumes(_ catalog: Catalog) async throws {
        // Keys first, heads then: of the lives that have generations, the head tells which is the present one.
        var lives: [VolumeID: [Incarnation: Life]] = [:]
        try await forEach(CatalogKey.volumes, in: catalog.store) { object in
            let parts = object.key.path.split(separator: "/").map(String.init)
            guard parts.count >= 3, let id = VolumeID(parts[1]) else { return }
            lives[id, default: [:]] = lives[id] ?? [:]
            guard parts.count == 5, let incarnation = Incarnation(parts[3]), parts[4].hasSuffix(".json"),
                let number = UInt64(parts[4].dropLast(5))
            else { return }
            var life = lives[id]?[incarnation] ?? Life(volume: id, incarnation: incarnation)
            if parts[2] == "generations" { life.generations.append(number) }
            if parts[2] == "branches" { life.branches.append(number) }
            lives[id]?[incarnation] = life
        }
        let volumes = try await catalog.inOrder(Array(lives)) { id, lives in
            try await Self.read(id, lives, catalog)
        }
        for life in volumes.flatMap({ $0 }) {
            lineages[life.lineage, default: Lineage(life.lineage)].lives.append(life.life)
        }
    }

    private static func read(
        _ id: VolumeID, _ listed: [Incarnation: Life], _ catalog: Catalog
    ) async throws -> [(lineage: String, life: Life)] {
        let head = try await catalog.load(Head.self, at: CatalogKey.head(id))?.value
        let record = try await catalog.load(VolumeRecord.self, at: CatalogKey.volume(id))?.value
        var lives = listed
        // A clone that was not written yet has no generation of its own.
        if let head, head.deletedAt == nil, lives[head.incarnation] == nil {
            lives[head.incarnation] = Life(volume: id, incarnation: head.incarnation)
        }
        var found: [(String, Life)] = []
        for var life in lives.values {
            life.isHeadMissing = head == nil
            if let head, head.incarnation == life.incarnation, head.deletedAt == nil { life.head = head }
            if record?.incarnation == life.incarnation { life.record = record }
            var lineage = life.record?.lineage
            if lineage == nil { lineage = try await self.lineage(of: life, catalog) }
            if let lineage { found.append((lineage, life)) }
        }
        return found
    }

    /// The lineage of a life whose volume has another one by now, as its generations say.
    private static func lineage(of life: Life, _ catalog: Catalog) async throws -> String? {
        let keys =
            try life.generations.map { try CatalogKey.generation(life.volume, life.incarnation, $0) }
            + life.branches.map { try CatalogKey.branch(life.volume, life.incarnation, epoch: $0) }
        for key in keys {
            if let record = try await catalog.load(GenerationRecord.self, at: key)?.value { return record.lineage }
        }
        // All that was listed has gone meanwhile; or the head, which pins a generation of another volume, has moved on.
        guard let newest = life.head?.newest else { return nil }
        return try await catalog.generationIfThere(newest)?.lineage
    }

    private mutating func readPins(_ catalog: Catalog) async throws {
        let snapshots = try await catalog.all(SnapshotRecord.self, below: CatalogKey.snapshots)
        for snapshot in try await catalog.keeping(snapshots.filter { $0.deletedAt == nil }) {
            if let generation = snapshot.generation {
                add(generation, "snapshot '\(snapshot.name)'", snapshot.lineage)
            } else if let delivery = snapshot.delivery {
                lineages[snapshot.lineage, default: Lineage(snapshot.lineage)].awaited
                    .append((snapshot.incarnation, delivery.after))
            }
        }
        let readers = try await catalog.all(ReaderRecord.self, below: CatalogKey.readers)
        let (living, over) = try await catalog.living(readers, at: catalog.time)
        lostReaders = over
        for reader in living {
            add(reader.generation, "its reader, node \(reader.node)", reader.lineage)
        }
        for pin in try await catalog.all(PinRecord.self, below: CatalogKey.pins) {
            add(pin.generation, "label '\(pin.label)'", pin.lineage)
        }
    }

    private mutating func add(_ generation: GenerationReference, _ what: String, _ lineage: String) {
        lineages[lineage, default: Lineage(lineage)].pins.append(Pin(generation: generation, what: what))
    }
}

/// All objects below a folder, page by page.
func forEach(_ folder: String, in store: any ObjectStore, _ body: (ObjectInfo) throws -> Void) async throws {
    var last: ObjectKey?
    while true {
        try Task.checkCancellation()
        let page = try await store.list(prefix: folder, after: last, limit: 1000)
        for object in page { try body(object) }
        guard let end = page.last else { return }
        last = end.key
    }
}
