import Foundation

/// A record that a process writes again at intervals, as a sign of life.
public protocol LivingRecord {
    /// When it was last written, by its writer's clock.
    var seenAt: Date { get }
    /// In how many seconds at the latest it is written again.
    var interval: Int { get }
}

extension LivingRecord {
    /// Until when its writer is taken to live: three intervals may be missed.
    public var validUntil: Date { seenAt.addingTimeInterval(longestSilence) }

    /// In seconds, how long its writer may be silent and be taken to live.
    public var longestSilence: Double { Double(interval * 3) }

    /// Whether its writer lives, as far as the bucket can tell.
    public func isAlive(at now: Date) -> Bool { validUntil > now }
}
