/// How much a transfer that waits for its turn is wanted.
struct TransferRank: Sendable, Equatable {
    enum Urgency: Int, Sendable, Comparable {
        /// A checkpoint, or a stage-out that nobody waits for.
        case background
        /// A pod that starts, a pod that ends, a node that is to get the volume, a snapshot, a flush: somebody waits.
        case awaited

        static func < (a: Urgency, b: Urgency) -> Bool { a.rawValue < b.rawValue }
    }

    var urgency: Urgency
    /// What only this node has, in bytes; nil where that is not known, and it may be all of the volume.
    var unsavedBytes: UInt64?

    /// Before all else, and among its like first come first served: as the restore that a pod waits for.
    static let first = TransferRank(urgency: .awaited, unsavedBytes: nil)

    /// Whether this is to go before `other`: what somebody waits for before what nobody waits for, then what would cost most if
    /// the node were lost.
    func goes(before other: TransferRank) -> Bool {
        if urgency != other.urgency { return urgency > other.urgency }
        return (unsavedBytes ?? .max) > (other.unsavedBytes ?? .max)
    }
}

/// Who is next: pure, so that any order of comings and goings can be tried.
///
/// Nobody starves: who has been passed over by `patience` others, each of which came later, is next, however little it is
/// wanted.
struct TransferQueue: Sendable {
    private struct Entry: Sendable {
        var id: Int
        /// Asked anew at each choice, as somebody may have come to wait for it meanwhile.
        var rank: @Sendable () -> TransferRank
        var passedOver = 0
    }

    /// How many that came later may go before one that waits.
    static let patience = 8

    /// In the order of their coming.
    private var entries: [Entry] = []

    var isEmpty: Bool { entries.isEmpty }

    mutating func add(_ id: Int, _ rank: @escaping @Sendable () -> TransferRank) {
        entries.append(Entry(id: id, rank: rank))
    }

    /// - Returns: whether it was there.
    @discardableResult
    mutating func remove(_ id: Int) -> Bool {
        guard let index = entries.firstIndex(where: { $0.id == id }) else { return false }
        entries.remove(at: index)
        return true
    }

    /// Takes out the one that is next; nil where nobody waits.
    mutating func next() -> Int? {
        guard let index = choice() else { return nil }
        for earlier in entries[..<index].indices { entries[earlier].passedOver += 1 }
        return entries.remove(at: index).id
    }

    private func choice() -> Int? {
        if let overdue = entries.firstIndex(where: { $0.passedOver >= Self.patience }) { return overdue }
        var best: (index: Int, rank: TransferRank)?
        for (index, entry) in entries.enumerated() {
            let rank = entry.rank()
            // Among equals whoever came first.
            if best.map({ rank.goes(before: $0.rank) }) ?? true { best = (index, rank) }
        }
        return best?.index
    }
}
