import Digests
import Errors

/// A volume's committed generations, newest first, each proved by the next one's, or the head's, digest of its record. Those
/// that have expired are passed over; what the collection of garbage noted proves what was kept before such a gap. Where the
/// volume is a clone, the generations of its origin follow its own, as far as they have been kept.
struct HistoryWalk {
    private let catalog: Catalog
    private let head: Head
    /// What comes next; nil at the end.
    private(set) var reference: GenerationReference?
    /// Whether what comes next is known from more than from itself.
    private(set) var isProven = true
    private var lineage: String?

    init(of head: Head, in catalog: Catalog) {
        (self.head, self.catalog, reference) = (head, catalog, head.newest)
    }

    /// - Throws: `corrupt` where a record is missing that has not expired, or is another; then `goOnBelow` is a way to go on.
    ///   `aborted` where the volume has gone on since the head was read, so that what was its newest could expire.
    mutating func next() async throws -> HistoryStep? {
        guard let reference else { return nil }
        if let record = try await catalog.generationIfThere(reference) {
            lineage = record.lineage
            self.reference = record.parent
            return .generation(ProvenGeneration(reference: reference, record: record))
        }
        // A head's newest generation, which nothing before it names a lineage for, never expires.
        guard let lineage else {
            guard try await catalog.head(head.volume).value.newest == head.newest else {
                throw PerSSDError(
                    .aborted, "volume \(head.volume) has been staged out since its head was read",
                    remedy: "try again")
            }
            throw catalog.missing(reference)
        }
        guard let collection = try await collection(of: lineage), collection.hasExpired(reference) else {
            throw catalog.missing(reference)
        }
        self.reference = collection.keptBefore(reference)
        isProven = true
        return .gap(reference.number - (self.reference?.number ?? 0))
    }

    /// Goes on below a generation whose record cannot be used: with the next older one that is there. Where nothing but that
    /// record had its digest, it is taken as it is, and no more proved; but it proves those below it.
    ///
    /// - Returns: what is wrong on the way: generations that are missing and have not expired.
    mutating func goOnBelow(_ damaged: GenerationReference) async throws -> [PerSSDError] {
        reference = nil
        let record = try await catalog.load(VolumeRecord.self, at: CatalogKey.volume(damaged.volume))?.value
        let volume = record?.incarnation == damaged.incarnation ? record : nil
        guard let lineage = lineage ?? volume?.lineage else { return [] }
        let collection = try await collection(of: lineage)
        let there = try await numbers(of: damaged).filter { $0 < damaged.number }.max()
        let origin = volume?.origin?.generation.flatMap { $0.number < damaged.number ? $0 : nil }
        // Nobody who made up a number is to keep anybody busy.
        let least = max(there ?? origin?.number ?? 0, damaged.number - min(damaged.number, 1000))
        let gap = min(least + 1, damaged.number)..<damaged.number
        let missing = gap.lazy.map { GenerationReference(damaged, number: $0) }.filter {
            collection?.hasExpired($0) != true
        }
        if let there {
            let next = GenerationReference(damaged, number: there)
            if let kept = collection?.kept(next) {
                (reference, isProven) = (kept, true)
            } else if let object = try await catalog.store.read(
                try CatalogKey.generation(next.volume, next.incarnation, there))
            {
                (reference, isProven) = (next.with(SHA256.digest(object.bytes)), false)
            }
        } else if let origin {
            (reference, isProven) = (origin, true)
        }
        return missing.map { catalog.missing($0) }
    }

    private func numbers(of life: GenerationReference) async throws -> [UInt64] {
        var found: [UInt64] = []
        try await forEach(CatalogKey.generations(life.volume, life.incarnation), in: catalog.store) { object in
            let name = object.key.path.split(separator: "/").last.map(String.init) ?? ""
            if name.hasSuffix(".json"), let number = UInt64(name.dropLast(5)) { found.append(number) }
        }
        return found
    }

    private func collection(of lineage: String) async throws -> CollectionRecord? {
        try await catalog.load(CollectionRecord.self, at: CatalogKey.collection(lineage: lineage))?.value
    }
}

extension GenerationReference {
    /// Another generation of the same life, whose digest nobody has told.
    fileprivate init(_ other: GenerationReference, number: UInt64) {
        self.init(volume: other.volume, incarnation: other.incarnation, number: number, digest: SHA256.digest(""))
    }

    fileprivate func with(_ digest: Digest) -> GenerationReference {
        GenerationReference(volume: volume, incarnation: incarnation, number: number, digest: digest)
    }
}

/// A generation's record, and the reference that proves it: the head's, or that of the generation made from it.
public struct ProvenGeneration: Sendable {
    public var reference: GenerationReference
    public var record: GenerationRecord
}

/// One step along a history.
public enum HistoryStep: Sendable {
    case generation(ProvenGeneration)
    /// So many that have expired.
    case gap(UInt64)
}

/// The newest part of a history.
public struct HistorySteps: Sendable {
    /// Newest first.
    public internal(set) var steps: [HistoryStep] = []
    /// Whether there are no older generations.
    public internal(set) var isWhole = false
    /// Why it cannot be followed any further, where a record is missing or damaged.
    public internal(set) var failure: PerSSDError?

    public var generations: [ProvenGeneration] {
        steps.compactMap { if case .generation(let generation) = $0 { generation } else { nil } }
    }

    /// How many have expired, of those between the ones that are there.
    public var expired: UInt64 { steps.reduce(0) { if case .gap(let count) = $1 { $0 + count } else { $0 } } }
}

extension Catalog {
    /// A volume's history, gaps and all.
    ///
    /// - Parameter limit: how many generations at the most.
    /// - Throws: what the store throws; `aborted` where the head is too old to tell. Damage is no error here.
    public func historySteps(of head: Head, limit: Int) async throws -> HistorySteps {
        var found = HistorySteps()
        var walk = HistoryWalk(of: head, in: self)
        var count = 0
        do {
            while let step = try await walk.next() {
                if case .generation = step {
                    guard count < limit else { return found }
                    count += 1
                }
                found.steps.append(step)
            }
            found.isWhole = true
        } catch let error as PerSSDError where error.code == .corrupt || error.code == .unsupported {
            found.failure = error
        }
        return found
    }

    /// A volume's committed generations, newest first, without those that have expired.
    ///
    /// Where the volume is a clone, those of its origin follow its own, as far as they have been kept.
    /// - Parameter limit: how many at the most.
    /// - Throws: `corrupt` where one is missing that has not expired; `aborted` where the head is too old to tell.
    public func history(of head: Head, limit: Int) async throws -> [GenerationRecord] {
        try await provenHistory(of: head, limit: limit).map(\.record)
    }

    /// The same, each with the reference that proves it.
    public func provenHistory(of head: Head, limit: Int) async throws -> [ProvenGeneration] {
        var found: [ProvenGeneration] = []
        var walk = HistoryWalk(of: head, in: self)
        while found.count < limit, let step = try await walk.next() {
            if case .generation(let generation) = step { found.append(generation) }
        }
        return found
    }
}
