import Digests
import Errors
import Foundation

/// `lineages/<lineage>/collection.json`: what of a lineage is to be removed, and what has been.
///
/// It is where those who pin something and those who remove something meet. Whoever pins writes the pin first and reads this
/// record then; whoever removes writes this record first and reads the pins then. So at least one of the two sees the other.
struct CollectionRecord: Record, Equatable {
    static let format = "perssd-collection"
    static let currentVersion = 1

    enum Phase: String, Sendable, Codable {
        /// Nothing is to be removed.
        case idle
        /// What is named goes unless somebody pins it: a pin takes it out of the record.
        case condemned
        /// What is named goes, or has gone already. Nothing brings it back.
        case removing
    }

    var lineage: String
    var phase: Phase
    /// Since when the phase lasts, by the store's clock.
    var since: Date
    /// Records of generations that nothing needs.
    var generations: [GenerationReference]
    /// Packs that no record of a generation reaches.
    var packs: [PackID]
    /// Other objects that nothing needs and nobody can pin: branches of deleted volumes, tables of moved pieces.
    var others: [String]
    /// How often packs have been removed. While it is 0, no pack that anybody wrote can be missing.
    var removals: UInt64
    /// What is left of each volume's history, so that what expired is not taken for damage.
    var histories: [History]

    /// The generations of one life of a volume after some have expired.
    struct History: Sendable, Codable, Equatable {
        /// A generation that stays.
        struct Kept: Sendable, Codable, Equatable {
            var number: UInt64
            /// Of the record, so that the history is a chain across the gaps, too.
            var digest: Digest
        }
        var volume: VolumeID
        var incarnation: Incarnation
        /// Of the generations up to this one those that are not in `kept` have expired.
        var through: UInt64
        /// Ascending.
        var kept: [Kept]
        /// When it last changed, by the store's clock.
        var changedAt: Date
    }

    var isEmpty: Bool { generations.isEmpty && packs.isEmpty && others.isEmpty }

    init(lineage: String, since: Date) {
        self.lineage = lineage
        self.since = since
        phase = .idle
        generations = []
        packs = []
        others = []
        removals = 0
        histories = []
    }

    /// Whether a generation's record has gone, or is going, because nothing needed it.
    func hasExpired(_ reference: GenerationReference) -> Bool {
        // Whatever the digest: a life's generations have one record each.
        let isGoing = generations.contains {
            $0.number == reference.number && $0.incarnation == reference.incarnation && $0.volume == reference.volume
        }
        if phase == .removing, isGoing { return true }
        guard let history = history(of: reference), reference.number <= history.through else { return false }
        return !history.kept.contains { $0.number == reference.number }
    }

    /// The next older generation that has been kept.
    func keptBefore(_ reference: GenerationReference) -> GenerationReference? {
        kept(of: reference) { $0 < reference.number }
    }

    /// The generation of this number, whatever its digest, where it has been kept when others expired.
    func kept(_ reference: GenerationReference) -> GenerationReference? {
        kept(of: reference) { $0 == reference.number }
    }

    /// The newest of a life's kept generations whose number is right.
    private func kept(of life: GenerationReference, where isRight: (UInt64) -> Bool) -> GenerationReference? {
        history(of: life)?.kept.last { isRight($0.number) }.map {
            GenerationReference(
                volume: life.volume, incarnation: life.incarnation, number: $0.number, digest: $0.digest)
        }
    }

    private func history(of reference: GenerationReference) -> History? {
        histories.first { $0.volume == reference.volume && $0.incarnation == reference.incarnation }
    }
}

extension CollectionRecord: PlacedRecord {
    func isAt(_ key: ObjectKey) -> Bool { (try? CatalogKey.collection(lineage: lineage)) == key }
}
