import Errors
import Foundation

/// Removes what no volume, snapshot, clone, reader or label needs any more.
///
/// It takes two runs for anything to go: the first condemns it, in the lineage's collection record, and a later one, after the
/// grace period, removes what nobody has pinned since. Any number of processes may collect at once, and die anywhere.
/// See docs/architecture.md.
public struct GarbageCollection: Sendable {
    public struct Options: Sendable {
        /// How long what is condemned stays, and how old a pack has to be before it can be. By the store's clock. A stage-out
        /// or a restore without a pin that takes longer may have to begin anew; nothing that is committed hangs on it.
        public var grace: Duration
        /// Lineages looked at at once, each with up to 16 requests.
        public var lineagesAtOnce: Int
        /// Removals under way at once in each.
        public var removalsAtOnce: Int
        /// Packs condemned at the most in a lineage by one run.
        public var packsAtOnce: Int
        /// Packs of which less than so many percent are needed are rewritten; 0 for none.
        public var rewrittenBelowPercent: Int
        /// And only where so many bytes come free: each rewritten pack leaves a table behind.
        public var rewrittenFromBytes: UInt64

        public static let defaultGrace = Duration.seconds(86_400)
        /// What makes sense for `grace` outside of tests.
        public static let graces = Duration.seconds(60)...Duration.seconds(720 * 3600)

        public init(
            grace: Duration = defaultGrace, lineagesAtOnce: Int = 4, removalsAtOnce: Int = 16,
            packsAtOnce: Int = 20_000, rewrittenBelowPercent: Int = 33, rewrittenFromBytes: UInt64 = 1 << 20
        ) {
            self.grace = grace
            self.lineagesAtOnce = lineagesAtOnce
            self.removalsAtOnce = removalsAtOnce
            self.packsAtOnce = packsAtOnce
            self.rewrittenBelowPercent = rewrittenBelowPercent
            self.rewrittenFromBytes = rewrittenFromBytes
        }
    }

    private let catalog: Catalog
    private let options: Options

    public init(catalog: Catalog, options: Options = Options()) {
        self.catalog = catalog
        self.options = options
    }

    /// Whether the last run, by whichever process, began so long ago or more; a fourth of that where it has not ended, as it
    /// may have died.
    public func isDue(every interval: Duration) async throws -> Bool {
        let last = try await catalog.load(CollectionRunRecord.self, at: CollectionRunRecord.key)
        guard let last else { return true }
        let wait = last.value.finishedAt == nil ? interval / 4 : interval
        return catalog.time.timeIntervalSince(last.value.startedAt) >= wait / .seconds(1)
    }

    /// What a run would do now, and why. Writes nothing.
    public func plan() async throws -> CollectionReport {
        try await collect(at: catalog.time, isDry: true)
    }

    /// Condemns, and removes what was condemned long enough ago. What goes wrong in one lineage is in its report, and holds up
    /// no other.
    ///
    /// - Throws: `cancelled`; what the store throws where it cannot even be listed.
    public func run() async throws -> CollectionReport {
        let key = try CollectionRunRecord.key
        var record = CollectionRunRecord(startedAt: catalog.time)
        _ = try await catalog.save(record, at: key, condition: .none)
        // The time of the store's clock at which this began: all ages are by that clock.
        guard let begun = try await catalog.store.info(key)?.modified else {
            throw PerSSDError(.unavailable, "object \(key), which was written a moment ago, is not there")
        }
        let report = try await collect(at: begun, isDry: false)
        record.finishedAt = catalog.time
        record.generationsRemoved = report.removed.generations.count
        record.packsRemoved = report.removed.packs.count
        record.bytesRemoved = report.removed.packBytes
        _ = try await catalog.save(record, at: key, condition: .none)
        return report
    }

    private func collect(at now: Date, isDry: Bool) async throws -> CollectionReport {
        do {
            let census = try await Census.take(catalog)
            if !isDry { try await catalog.forget(census.lostReaders) }
            let lineages = census.lineages.values.sorted { $0.name < $1.name }
            return try await withThrowingTaskGroup(of: LineageReport.self) { group in
                var report = CollectionReport()
                for (index, lineage) in lineages.enumerated() {
                    if index >= options.lineagesAtOnce, let done = try await group.next() { report.add(done) }
                    group.addTask { try await self.collect(lineage, at: now, isDry: isDry) }
                }
                for try await done in group { report.add(done) }
                report.lineages.sort { $0.lineage < $1.lineage }
                return report
            }
        } catch is CancellationError {
            throw PerSSDError(.cancelled, "the collection of garbage was cancelled")
        }
    }

    private func collect(_ lineage: Census.Lineage, at now: Date, isDry: Bool) async throws -> LineageReport {
        var work = LineageCollection(lineage: lineage, now: now, isDry: isDry, catalog: catalog, options: options)
        do {
            try await work.run()
        } catch let error as CancellationError {
            throw error
        } catch let error as PerSSDError where error.code != .cancelled {
            work.report.failure = error.during("lineage \(lineage.name) cannot be collected")
        }
        return work.report
    }
}

/// `collection.json`: the last collection of garbage.
struct CollectionRunRecord: Record, Equatable {
    static let format = "perssd-collection-run"
    static let currentVersion = 1
    static var key: ObjectKey { get throws { try ObjectKey("collection.json") } }

    var startedAt: Date
    /// nil while it runs, or where it died.
    var finishedAt: Date?
    var generationsRemoved: Int?
    var packsRemoved: Int?
    var bytesRemoved: UInt64?

    init(startedAt: Date) { self.startedAt = startedAt }
}

extension CollectionRunRecord: PlacedRecord {
    func isAt(_ key: ObjectKey) -> Bool { (try? Self.key) == key }
}

/// What a collection did, or would do.
public struct CollectionReport: Sendable {
    public var lineages: [LineageReport] = []

    public var condemned: Garbage { lineages.reduce(into: Garbage()) { $0.add($1.condemned) } }
    public var waiting: Garbage { lineages.reduce(into: Garbage()) { $0.add($1.waiting) } }
    public var removed: Garbage { lineages.reduce(into: Garbage()) { $0.add($1.removed) } }
    public var spared: Garbage { lineages.reduce(into: Garbage()) { $0.add($1.spared) } }
    public var failures: [PerSSDError] { lineages.compactMap(\.failure) }

    mutating func add(_ lineage: LineageReport) { lineages.append(lineage) }
}

public struct LineageReport: Sendable {
    public var lineage: String
    /// The volumes that are there, as people know them.
    public var volumes: [String]
    /// The generations that stay, and what each is kept by.
    public var kept: [GenerationReference: String] = [:]
    /// All packs that there were.
    public var packs: Int
    public var packBytes: UInt64
    /// Named by this run, to be removed by one after the grace period.
    public var condemned = Garbage()
    /// Named by an earlier run, and still in the grace period.
    public var waiting = Garbage()
    public var removed = Garbage()
    /// Named by an earlier run, and needed again since.
    public var spared = Garbage()
    /// Packs of which little was needed, whose rest was brought into new ones.
    public var rewritten: [PackID] = []
    /// Bytes that were moved for that.
    public var movedBytes: UInt64 = 0
    /// Why nothing, or not all, was done.
    public var failure: PerSSDError?
}

/// Objects that nothing needs.
public struct Garbage: Sendable {
    public struct Generation: Sendable {
        public var reference: GenerationReference
        public var reason: String
    }
    public var generations: [Generation] = []
    public var packs: [PackID] = []
    public var packBytes: UInt64 = 0
    /// Keys of other objects.
    public var others: [String] = []

    public var isEmpty: Bool { generations.isEmpty && packs.isEmpty && others.isEmpty }

    mutating func add(_ other: Garbage) {
        generations += other.generations
        packs += other.packs
        packBytes += other.packBytes
        others += other.others
    }
}
