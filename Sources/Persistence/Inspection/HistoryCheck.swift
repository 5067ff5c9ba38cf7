import Errors

/// What following a volume's history, from its newest generation to its first, has found.
public struct HistoryCheck: Sendable {
    /// How many records were read and found to be right.
    public internal(set) var generations = 0
    /// How many of them nothing newer proves, because the record that had named their digests is damaged. They fit each
    /// other, and no more is known.
    public internal(set) var unproved = 0
    /// How many were passed over because they have expired, as the collection of garbage has noted.
    public internal(set) var expired: UInt64 = 0
    /// How far the chain can be followed without a break: the number of the oldest; nil where that is nowhere.
    public internal(set) var oldest: UInt64?
    /// What is wrong, each with the number of its generation; empty where the chain is whole.
    public internal(set) var findings: [PerSSDError] = []

    public var isSound: Bool { findings.isEmpty }
}

extension Catalog {
    /// Follows the chain of parents from end to end: each record has to be the one whose digest is known, and to fit the
    /// one that was made from it. What has expired is passed over, and what was kept before it is proved by what the
    /// collection of garbage noted. Below a record that is missing, or is another, it goes on with what is there.
    ///
    /// - Throws: what the store throws; damage is no error here.
    public func checkHistory(of head: Head) async throws -> HistoryCheck {
        var check = HistoryCheck()
        var walk = HistoryWalk(of: head, in: self)
        var child: GenerationRecord?
        while let reference = walk.reference {
            let isProven = walk.isProven
            do {
                switch try await walk.next() {
                case .generation(let generation):
                    let record = generation.record
                    let findings = try Self.contradictions(record, reference, child)
                    child = record
                    check.generations += 1
                    if check.isSound { check.oldest = record.number }
                    if !isProven { check.unproved += 1 }
                    check.findings += findings
                case .gap(let count):
                    check.expired += count
                    // What stands before a gap has another child than the one that was read.
                    child = nil
                case nil: break
                }
            } catch let error as PerSSDError where error.code == .corrupt || error.code == .unsupported {
                check.findings.append(error)
                child = nil
                do {
                    check.findings += try await walk.goOnBelow(reference)
                } catch let error as PerSSDError where error.code == .corrupt || error.code == .unsupported {
                    check.findings.append(error)
                    return check
                }
            }
        }
        return check
    }

    /// - Throws: `corrupt` where it is not the record of this generation, or does not say what it was made from.
    private static func contradictions(
        _ record: GenerationRecord, _ reference: GenerationReference, _ child: GenerationRecord?
    ) throws -> [PerSSDError] {
        func wrong(_ what: String) -> PerSSDError { PerSSDError(.corrupt, "the record of \(reference) \(what)") }
        guard
            record.volume == reference.volume && record.incarnation == reference.incarnation
                && record.number == reference.number
        else { throw wrong("says that it is generation \(record.number) of \(record.volume)") }
        // A number that does not descend could make a circle.
        let hasParent = record.number == 1 ? record.parent == nil : record.parent?.number == record.number &- 1
        guard hasParent, record.number > 0 else {
            throw wrong("has \(record.parent.map(\.description) ?? "nothing") as its parent")
        }
        guard let child else { return [] }
        var findings: [PerSSDError] = []
        func require(_ isRight: Bool, _ what: String) { if !isRight { findings.append(wrong(what)) } }
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
