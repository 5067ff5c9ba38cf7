import Digests
import Errors
import Foundation

/// What of a lineage is needed, and what is not, by one census. Reads records and block maps, and changes nothing.
struct Judgement: Sendable {
    struct Generation: Sendable {
        var reference: GenerationReference
        var record: GenerationRecord
    }
    /// All records that there are, those that nothing needs among them.
    var generations: [Generation] = []
    /// Why each that stays does so.
    var kept: [GenerationReference: String] = [:]
    /// Why each of the others is not needed.
    var expired: [GenerationReference: String] = [:]
    var deadBranches: [ObjectKey] = []
    /// Where the pieces of rewritten packs went.
    var tables: [PackID: MovedPieces] = [:]
    /// What the records that there are reach; what goes is among it, as the packs go after the records.
    var live: LiveMap

    static func pass(on lineage: Census.Lineage, by catalog: Catalog) async throws -> Judgement {
        if let finding = lineage.findings.first { throw finding }
        let tables = try await readTables(of: lineage, catalog)
        var judgement = Judgement(live: LiveMap(store: catalog.store, lineage: lineage.name, tables: tables))
        judgement.tables = tables
        var records: [GenerationReference: GenerationRecord] = [:]
        for life in lineage.lives {
            let found = try await catalog.inOrder(life.generations) { try await read($0, of: life, catalog) }
            for generation in found { records[generation.reference] = generation.record }
        }
        let strict = try await judgement.decide(lineage, &records, catalog)
        judgement.generations = records.map { Generation(reference: $0.key, record: $0.value) }
        // What is to be whole comes first: what a walk could not read, no later one looks at again.
        for generation in judgement.generations where strict.contains(generation.reference) {
            try await judgement.live.add(generation.record.map, isIncomplete: false)
        }
        try await judgement.addBranches(of: lineage, catalog)
        for generation in judgement.generations where !strict.contains(generation.reference) {
            try await judgement.live.add(generation.record.map, isIncomplete: true)
        }
        return judgement
    }

    private static func read(_ number: UInt64, of life: Census.Life, _ catalog: Catalog) async throws -> Generation? {
        let key = try CatalogKey.generation(life.volume, life.incarnation, number)
        guard let object = try await catalog.store.read(key) else { return nil }
        return Generation(
            reference: GenerationReference(
                volume: life.volume, incarnation: life.incarnation, number: number,
                digest: SHA256.digest(object.bytes)),
            record: try GenerationRecord(decoding: object.bytes, from: key))
    }

    private static func readTables(
        of lineage: Census.Lineage, _ catalog: Catalog
    ) async throws -> [PackID: MovedPieces] {
        let tables = try await catalog.inOrder(lineage.moved) { pack in
            try await MovedPieces.load(pack, lineage: lineage.name, from: catalog.store)
        }
        return Dictionary(uniqueKeysWithValues: tables.map { ($0.pack, $0) })
    }

    /// Says of each generation why it stays or goes.
    ///
    /// - Parameter records: those that were listed; what is pinned and came later is added.
    /// - Returns: those that have to be there in full.
    private mutating func decide(
        _ lineage: Census.Lineage, _ records: inout [GenerationReference: GenerationRecord], _ catalog: Catalog
    ) async throws -> Set<GenerationReference> {
        var strict: [Census.Pin] = lineage.pins
        var lenient: [Census.Pin] = []
        for life in lineage.lives {
            let own = records.keys.filter { $0.incarnation == life.incarnation && $0.volume == life.volume }
            if life.isHeadMissing {
                throw PerSSDError(
                    .corrupt, "the head of volume \(life.volume) is missing, and generations of it are there",
                    remedy: "bring volumes/\(life.volume)/head.json back from a version or a backup of the bucket")
            }
            guard let head = life.head else { continue }
            let title = life.record?.title ?? life.volume.rawValue
            let committed = own.filter { $0.number <= head.newest?.number ?? 0 }
            lenient += own.filter { $0.number > head.newest?.number ?? 0 }
                .map { .init(generation: $0, what: "a stage-out of \(title) that is not committed yet") }
            if let newest = head.newest { strict.append(.init(generation: newest, what: "\(title): its newest")) }
            var chain = committed
            if let origin = life.record?.origin?.generation, !chain.contains(origin) { chain.append(origin) }
            for pin in retained(chain, records, by: life, head, title) { strict.append(pin) }
            for awaited in lineage.awaited where awaited.incarnation == life.incarnation {
                strict += committed.filter { $0.number > awaited.after }
                    .map { .init(generation: $0, what: "a snapshot of \(title) that is not ready yet") }
            }
        }
        var whole: Set<GenerationReference> = []
        for pin in strict {
            let reference = pin.generation
            if records[reference] == nil {
                // Committed since the listing; or a pin whose maker has not looked yet whether it holds, or has died.
                guard let record = try await catalog.generationIfThere(reference) else {
                    let reason = try await catalog.reasonMissing(reference, lineage: lineage.name)
                    if reason.code == .notFound { continue }
                    throw reason.during("\(pin.what) cannot be read")
                }
                records[reference] = record
            }
            whole.insert(reference)
            if kept[reference] == nil { kept[reference] = pin.what }
        }
        for pin in lenient where kept[pin.generation] == nil { kept[pin.generation] = pin.what }
        let alive = Set(lineage.lives.filter { $0.head != nil }.map(\.incarnation))
        for reference in records.keys where kept[reference] == nil {
            expired[reference] =
                alive.contains(reference.incarnation) ? "not kept by the volume's retention" : "its volume was deleted"
        }
        return whole
    }

    /// What of a volume's history its retention keeps, and what a fenced node's branch may be based on.
    private func retained(
        _ chain: [GenerationReference], _ records: [GenerationReference: GenerationRecord], by life: Census.Life,
        _ head: Head, _ title: String
    ) -> [Census.Pin] {
        // Where nobody can tell what is wanted, everything is.
        let policy = life.record.map { $0.parameters.retention ?? .standard } ?? .all
        let times = chain.compactMap { reference in
            records[reference].map { (number: reference.number, time: $0.provenance.cutAt) }
        }
        let numbers = policy.kept(times)
        return chain.compactMap { reference in
            guard records[reference] != nil else { return nil }
            if numbers.contains(reference.number) { return .init(generation: reference, what: "\(title): retention") }
            if head.loss?.newestGeneration == reference.number {
                return .init(generation: reference, what: "\(title): what its lost node had begun with")
            }
            return nil
        }
    }

    private mutating func addBranches(of lineage: Census.Lineage, _ catalog: Catalog) async throws {
        for life in lineage.lives {
            for epoch in life.branches {
                let key = try CatalogKey.branch(life.volume, life.incarnation, epoch: epoch)
                if life.head == nil {
                    deadBranches.append(key)
                } else if let record = try await catalog.load(GenerationRecord.self, at: key)?.value {
                    // A branch whose writer found too late that its base had gone is incomplete; it is written again.
                    try await live.add(record.map, isIncomplete: true)
                }
            }
        }
    }
}

extension MovedPieces {
    /// - Returns: nil where the pack was never rewritten.
    /// - Throws: `corrupt` or `unsupported`, naming the object.
    static func load(_ pack: PackID, lineage: String, from store: any ObjectStore) async throws -> MovedPieces? {
        let key = try key(of: pack, lineage: lineage)
        guard let object = try await store.read(key) else { return nil }
        do {
            return try MovedPieces(decoding: object.bytes, of: pack, lineage: lineage)
        } catch let error as PerSSDError {
            throw error.during("object \(key) cannot be used")
        }
    }
}
