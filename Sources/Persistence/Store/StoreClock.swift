import Digests
import Foundation
import Synchronization

/// What time it is, for records that other machines read. That is this machine's clock, unless it is far from the store's: then
/// it is the store's, as all who share a store can agree on that one, and a machine whose clock is off by hours would look dead,
/// or alive for hours after its end.
///
/// In between two looks at the store's clock time goes on by a clock that nobody sets, so it counts at once when somebody sets
/// this machine's.
public final class StoreClock: Sendable {
    private struct Anchor {
        var time: Date
        var instant: ContinuousClock.Instant
    }

    /// What is no more than this is not worth a correction: the store tells whole seconds, and takes its time to answer.
    public static let tolerance: TimeInterval = 30

    private let own: @Sendable () -> Date
    private let anchor = Mutex<Anchor?>(nil)

    /// - Parameter own: this machine's clock.
    public init(own: @escaping @Sendable () -> Date = { Date() }) { self.own = own }

    public var now: Date {
        let (own, instant) = (own(), ContinuousClock.now)
        guard let anchor = anchor.withLock({ $0 }) else { return own }
        let expected = anchor.time.addingTimeInterval((instant - anchor.instant) / .seconds(1))
        return abs(own.timeIntervalSince(expected)) > Self.tolerance ? expected : own
    }

    /// By how many seconds this machine's clock is ahead of what the store's says, as far as is known; negative where it is
    /// behind.
    public var difference: TimeInterval {
        let (own, instant) = (own(), ContinuousClock.now)
        return anchor.withLock { anchor in
            anchor.map { own.timeIntervalSince($0.time) - (instant - $0.instant) / .seconds(1) } ?? 0
        }
    }

    /// Looks what time it is by the store's clock, with an object that is gone afterwards. A store whose times are those of the
    /// machine that writes, as some shared file systems' are, shows no difference.
    ///
    /// - Throws: what the store throws; the clock then goes on as before.
    public func compare(with store: any ObjectStore) async throws {
        let key = try ObjectKey(ConditionalWriteTest.folder + randomBytes(16).hex)
        do {
            let begin = ContinuousClock.now
            _ = try await store.write(key, Array("what time is it?".utf8), condition: .absent)
            let took = ContinuousClock.now - begin
            if let time = try await store.info(key)?.modified {
                // Somewhere in between it was written.
                anchor.withLock { $0 = Anchor(time: time, instant: begin + took / 2) }
            }
        } catch {
            try? await store.remove(key)
            throw error
        }
        try await store.remove(key)
    }
}
