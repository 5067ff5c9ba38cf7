import Errors

/// What following a volume's history, from its newest generation to its first, has found.
public struct HistoryCheck: Sendable {
    /// How many records were read and proved by the digest that the next one, or the head, has of them.
    public internal(set) var generations = 0
    /// How many were passed over because they have expired, as the collection of garbage has noted.
    public internal(set) var expired: UInt64 = 0
    /// The number of the oldest of them; nil where there are none.
    public internal(set) var oldest: UInt64?
    /// What is wrong; empty where the chain is whole.
    public internal(set) var findings: [PerSSDError] = []

    public var isSound: Bool { findings.isEmpty }
}

extension Catalog {
    /// Follows the chain of parents from end to end: each record has to be the one whose digest is known, and to fit the
    /// one that was made from it. What has expired is passed over, and what was kept before it is proved by what the
    /// collection of garbage noted. Where a record is missing or is another, the chain ends there, as nobody knows what
    /// was before it.
    ///
    /// - Throws: what the store throws; damage is no error here.
    public func checkHistory(of head: Head) async throws -> HistoryCheck {
        var check = HistoryCheck()
        var next = head.newest
        var child: GenerationRecord?
        while let reference = next {
            let record: GenerationRecord
            do {
                guard let there = try await generationIfThere(reference) else {
                    let kept = try await keptBefore(reference, in: head, lineage: child?.lineage)
                    check.expired += reference.number - (kept?.number ?? 0)
                    // What stands before a gap has another child than the one that was read.
                    (child, next) = (nil, kept)
                    continue
                }
                record = there
            } catch let error as PerSSDError where error.code == .corrupt || error.code == .unsupported {
                check.findings.append(error)
                return check
            }
            check.generations += 1
            check.oldest = record.number
            check.findings += Self.contradictions(record, reference, child)
            // A number that does not descend could make a circle.
            guard (record.parent?.number ?? 0) < record.number else { return check }
            (child, next) = (record, record.parent)
        }
        return check
    }

    private static func contradictions(
        _ record: GenerationRecord, _ reference: GenerationReference, _ child: GenerationRecord?
    ) -> [PerSSDError] {
        var findings: [PerSSDError] = []
        func require(_ isRight: Bool, _ what: String) {
            if !isRight { findings.append(PerSSDError(.corrupt, "the record of \(reference) \(what)")) }
        }
        require(
            record.volume == reference.volume && record.incarnation == reference.incarnation
                && record.number == reference.number, "says that it is generation \(record.number) of \(record.volume)")
        require(
            (record.parent?.number ?? 0) &+ 1 == record.number,
            "has \(record.parent.map(\.description) ?? "nothing") as its parent")
        guard let child else { return findings }
        require(record.lineage == child.lineage, "is of another lineage than generation \(child.number)")
        require(record.map.blockSize == child.map.blockSize, "has other blocks than generation \(child.number)")
        require(
            record.map.capacityBytes <= child.map.capacityBytes,
            "has \(record.map.capacityBytes) bytes, and generation \(child.number) \(child.map.capacityBytes): volumes "
                + "do not shrink")
        // Each volume counts its own epochs.
        let isSameLife = record.volume == child.volume && record.incarnation == child.incarnation
        require(!isSameLife || record.epoch <= child.epoch, "is of a later epoch than generation \(child.number)")
        return findings
    }
}
