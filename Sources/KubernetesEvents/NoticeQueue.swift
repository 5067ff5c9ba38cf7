import VolumeEvents

/// What is still to be posted, in order; bounded. Pure.
///
/// Of a series only the newest waits. Where there is no room, the least important goes first, and of those the oldest.
struct NoticeQueue: Sendable {
    private var waiting: [Notice] = []
    private let limit: Int

    init(limit: Int) {
        precondition(limit > 0)
        self.limit = limit
    }

    var count: Int { waiting.count }
    var isEmpty: Bool { waiting.isEmpty }

    /// - Returns: what is not posted, as there is no room for it.
    mutating func add(_ notice: Notice) -> Notice? {
        if notice.reason.isRepeated, let index = waiting.firstIndex(where: { $0.series == notice.series }) {
            waiting[index] = notice
            return nil
        }
        waiting.append(notice)
        guard waiting.count > limit, let least = waiting.map(\.importance).min(),
            let index = waiting.firstIndex(where: { $0.importance == least })
        else { return nil }
        return waiting.remove(at: index)
    }

    mutating func next() -> Notice? { waiting.isEmpty ? nil : waiting.removeFirst() }

    /// - Returns: how many there were.
    mutating func clear() -> Int {
        defer { waiting = [] }
        return waiting.count
    }
}
