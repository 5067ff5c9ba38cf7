import Foundation

/// The events that are brought up to date instead of being followed by others, as long as they are there. Pure.
struct PostedSeries: Sendable {
    struct Posted: Sendable, Equatable {
        /// Of the event.
        var name: String
        var count: Int
    }

    private struct Entry {
        var posted: Posted
        var usedAt: ContinuousClock.Instant
    }

    private var entries: [Notice.Series: Entry] = [:]
    private let limit: Int
    private let lifetime: Duration

    /// - Parameter lifetime: how long one that nothing was added to is gone on with. The API server keeps events for an hour.
    init(limit: Int = 512, lifetime: Duration = .seconds(600)) {
        (self.limit, self.lifetime) = (limit, lifetime)
    }

    /// The event to be brought up to date; nil where another has to be made.
    func posted(_ series: Notice.Series, at now: ContinuousClock.Instant) -> Posted? {
        guard let entry = entries[series], now - entry.usedAt < lifetime else { return nil }
        return entry.posted
    }

    mutating func note(_ posted: Posted, of series: Notice.Series, at now: ContinuousClock.Instant) {
        entries[series] = Entry(posted: posted, usedAt: now)
        guard entries.count > limit else { return }
        entries = entries.filter { now - $0.value.usedAt < lifetime }
        while entries.count > limit, let oldest = entries.min(by: { $0.value.usedAt < $1.value.usedAt }) {
            entries[oldest.key] = nil
        }
    }

    mutating func forget(_ series: Notice.Series) { entries[series] = nil }
}
