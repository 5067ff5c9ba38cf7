import Errors
import Foundation

/// One run's work on one lineage.
struct LineageCollection: Sendable {
    let lineage: Census.Lineage
    /// By the store's clock, at the begin of the run.
    private let now: Date
    let isDry: Bool
    let catalog: Catalog
    let options: GarbageCollection.Options
    /// The lineage's record as last read or written here; nil where there is none.
    private var current: Versioned<CollectionRecord>?
    /// What this run removed: the census still has it.
    private var gone = CollectionRecord.Names()
    var report: LineageReport

    init(
        lineage: Census.Lineage, now: Date, isDry: Bool, catalog: Catalog, options: GarbageCollection.Options
    ) {
        self.lineage = lineage
        self.now = now
        self.isDry = isDry
        self.catalog = catalog
        self.options = options
        current = lineage.collection
        report = LineageReport(
            lineage: lineage.name,
            volumes: lineage.lives.filter { $0.head != nil }.map { $0.record?.title ?? $0.volume.rawValue }.sorted(),
            packs: lineage.packs.count, packBytes: lineage.packs.values.reduce(0) { $0 + $1.size })
    }

    private var grace: Double { Double(options.grace.components.seconds) }

    mutating func run() async throws {
        // What somebody began to remove cannot be had back, whatever pins it.
        if let begun = current, begun.value.phase == .removing {
            report.removed.add(garbage(begun.value.names, because: { _ in "an earlier run began to remove it" }))
            guard try await finish(begun) else { return }
        }
        let judgement = try await Judgement.pass(on: lineage, by: catalog)
        report.kept = judgement.kept
        if let condemned = current, condemned.value.phase == .condemned {
            guard try await remove(condemned, by: judgement) else { return }
        }
        let rewritten = options.rewrittenBelowPercent > 0 ? try await rewrite(by: judgement) : []
        try await condemn(by: judgement, and: rewritten)
    }

    /// Removes what was condemned before, and that nothing has come to need since.
    ///
    /// All pins were read after the condemnation was written. Who pins something later finds it condemned, and takes it
    /// out of the record, so that the compare-and-swap here fails.
    /// - Returns: whether the lineage is ready to have something else condemned.
    private mutating func remove(
        _ condemned: Versioned<CollectionRecord>, by judgement: Judgement
    ) async throws -> Bool {
        let names = condemned.value.names
        guard now.timeIntervalSince(condemned.value.since) >= grace else {
            report.waiting.add(garbage(names, because: { judgement.expired[$0] ?? "pinned again" }))
            return false
        }
        let dead = Set(judgement.deadBranches.map(\.path))
        let doomed = CollectionRecord.Names(
            generations: names.generations.filter { judgement.expired[$0] != nil },
            packs: names.packs.filter { !judgement.live.reaches($0) },
            others: names.others.filter { dead.contains($0) || isNeedlessTable($0, judgement) })
        report.spared.add(garbage(names.subtracting(doomed), because: { judgement.kept[$0] ?? "it has gone" }))
        report.removed.add(garbage(doomed, because: { judgement.expired[$0] ?? "" }))
        if isDry {
            gone.add(names)
            return true
        }
        var removing = condemned.value
        removing.names = doomed
        removing.phase = .removing
        removing.since = now
        removing.note(doomed.generations, among: judgement, at: now)
        let key = try CatalogKey.collection(lineage: lineage.name)
        do {
            let etag = try await catalog.save(removing, at: key, condition: .matches(condemned.etag))
            return try await finish(Versioned(removing, etag))
        } catch let error as PerSSDError where error.code == .conflict {
            // A pin or another collection came between; the next run sees to it.
            report.removed = Garbage()
            return false
        }
    }

    /// - Returns: false where another collection was faster to say that all is done.
    private mutating func finish(_ removing: Versioned<CollectionRecord>) async throws -> Bool {
        let names = removing.value.names
        gone.add(names)
        guard !isDry else { return true }
        var keys = try names.generations.map { try CatalogKey.generation($0.volume, $0.incarnation, $0.number) }
        keys += try names.packs.map { try $0.key(lineage: lineage.name) }
        keys += try names.others.map { try ObjectKey($0) }
        try await removeAll(keys)
        var done = removing.value
        done.names = CollectionRecord.Names()
        done.phase = .idle
        done.since = now
        if !names.packs.isEmpty { done.removals += 1 }
        let key = try CatalogKey.collection(lineage: lineage.name)
        do {
            current = Versioned(done, try await catalog.save(done, at: key, condition: .matches(removing.etag)))
            return true
        } catch let error as PerSSDError where error.code == .conflict {
            return false
        }
    }

    private func removeAll(_ keys: [ObjectKey]) async throws {
        let catalog = catalog
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (index, key) in keys.enumerated() {
                if index >= options.removalsAtOnce { try await group.next() }
                group.addTask { try await catalog.store.remove(key) }
            }
            try await group.waitForAll()
        }
    }

    /// Old enough that nobody still works on what is to reach it.
    func isOld(_ pack: ObjectInfo) -> Bool { pack.modified < now - grace }

    /// Names what nothing needs, for a later run to remove.
    private mutating func condemn(by judgement: Judgement, and rewritten: Set<PackID>) async throws {
        let packs = lineage.packs.filter { pack, object in
            isOld(object) && !judgement.live.reaches(pack) || rewritten.contains(pack)
        }
        var names = CollectionRecord.Names(
            generations: judgement.expired.keys.sorted {
                ($0.volume, $0.number, $0.incarnation.rawValue) < ($1.volume, $1.number, $1.incarnation.rawValue)
            },
            packs: packs.keys.sorted { $0.precedes($1) },
            others: judgement.deadBranches.map(\.path)
                + (try lineage.moved.filter { !judgement.live.needsTable(of: $0) }
                    .map { try MovedPieces.key(of: $0, lineage: lineage.name).path }))
        names = names.subtracting(gone)
        names.packs = Array(names.packs.prefix(options.packsAtOnce))
        report.condemned.add(garbage(names, because: { judgement.expired[$0] ?? "" }))
        guard !isDry else { return }
        let key = try CatalogKey.collection(lineage: lineage.name)
        guard !names.isEmpty else { return try await forgetIfOver(judgement) }
        var record = current?.value ?? CollectionRecord(lineage: lineage.name, since: now)
        record.names = names
        record.phase = .condemned
        record.since = now
        record.forgetOldHistories(among: judgement, of: lineage, before: now - 10 * grace)
        do {
            let condition: WriteCondition = current.map { .matches($0.etag) } ?? .absent
            current = Versioned(record, try await catalog.save(record, at: key, condition: condition))
        } catch let error as PerSSDError where error.code == .conflict {
            report.condemned = Garbage()
        }
    }

    /// Removes the collection record of a lineage of which nothing is left. Nothing can ever be added to one: who joins a
    /// lineage does so by a generation of it.
    private func forgetIfOver(_ judgement: Judgement) async throws {
        let gone = Set(gone.generations)
        guard let current, current.value.isEmpty, lineage.pins.isEmpty,
            !lineage.lives.contains(where: { $0.head != nil }),
            judgement.generations.allSatisfy({ gone.contains($0.reference) })
        else { return }
        let key = try CatalogKey.collection(lineage: lineage.name)
        let folder = "\(CatalogKey.lineages)\(lineage.name)/"
        guard try await catalog.store.list(prefix: folder, after: nil, limit: 2).map(\.key) == [key] else { return }
        try await catalog.store.remove(key)
    }

    private func isNeedlessTable(_ path: String, _ judgement: Judgement) -> Bool {
        let folder = MovedPieces.folder(lineage: lineage.name)
        guard path.hasPrefix(folder), let pack = PackID(hex: String(path.dropFirst(folder.count))) else { return false }
        return !judgement.live.needsTable(of: pack)
    }

    private func garbage(
        _ names: CollectionRecord.Names, because reason: (GenerationReference) -> String
    ) -> Garbage {
        Garbage(
            generations: names.generations.map { .init(reference: $0, reason: reason($0)) }, packs: names.packs,
            packBytes: names.packs.reduce(0) { $0 + (lineage.packs[$1]?.size ?? 0) }, others: names.others)
    }
}

extension CollectionRecord {
    /// What a record names.
    struct Names: Sendable, Equatable {
        var generations: [GenerationReference] = []
        var packs: [PackID] = []
        var others: [String] = []

        var isEmpty: Bool { generations.isEmpty && packs.isEmpty && others.isEmpty }

        mutating func add(_ more: Names) {
            generations += more.generations
            packs += more.packs
            others += more.others
        }

        func subtracting(_ other: Names) -> Names {
            let (generations, packs, others) = (Set(other.generations), Set(other.packs), Set(other.others))
            return Names(
                generations: self.generations.filter { !generations.contains($0) },
                packs: self.packs.filter { !packs.contains($0) }, others: self.others.filter { !others.contains($0) })
        }
    }

    var names: Names {
        get { Names(generations: generations, packs: packs, others: others) }
        set { (generations, packs, others) = (newValue.generations, newValue.packs, newValue.others) }
    }

    /// Says which generations stay of each life of which some go.
    mutating func note(_ removed: [GenerationReference], among judgement: Judgement, at now: Date) {
        let going = Set(removed)
        for (life, gone) in Dictionary(grouping: removed, by: \.incarnation) {
            guard let volume = gone.first?.volume else { continue }
            let before = histories.first { $0.incarnation == life }
            let through = max(before?.through ?? 0, gone.map(\.number).max() ?? 0)
            let kept = judgement.generations.map(\.reference)
                .filter { $0.incarnation == life && $0.number <= through && !going.contains($0) }
                .sorted { $0.number < $1.number }
            histories.removeAll { $0.incarnation == life }
            histories.append(
                History(
                    volume: volume, incarnation: life, through: through,
                    kept: kept.map { .init(number: $0.number, digest: $0.digest) }, changedAt: now))
        }
        histories.sort { ($0.volume, $0.incarnation.rawValue) < ($1.volume, $1.incarnation.rawValue) }
    }

    /// Drops the histories of lives that ended before `date`, and that nothing can ask about any more.
    mutating func forgetOldHistories(among judgement: Judgement, of lineage: Census.Lineage, before date: Date) {
        var asked = Set(judgement.generations.flatMap { [$0.reference.incarnation, $0.record.parent?.incarnation] })
        for life in lineage.lives where life.head != nil {
            asked.formUnion([life.incarnation, life.head?.newest?.incarnation])
        }
        asked.formUnion(lineage.pins.map(\.generation.incarnation))
        histories.removeAll { $0.changedAt < date && !asked.contains($0.incarnation) }
    }
}
