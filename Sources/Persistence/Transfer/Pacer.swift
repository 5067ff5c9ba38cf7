import Synchronization

/// Holds back what is sent so that it is no more than so many bytes a second on average. It may be told another rate while
/// somebody waits.
///
/// What was sent is a debt that is paid off at the rate; the next object goes once there is none. So each object goes at
/// full speed, and the one after it waits.
///
/// A pacer may stand within another one that is shared: what is sent then keeps to both rates.
public final class Pacer: Sendable {
    private struct State {
        var bytesPerSecond: UInt64?
        var debt = 0.0
        var paidUntil: ContinuousClock.Instant = .now

        mutating func settle(at now: ContinuousClock.Instant) {
            let seconds = (now - paidUntil) / .seconds(1)
            debt = max(0, debt - Double(bytesPerSecond ?? 0) * seconds)
            paidUntil = now
        }
    }
    private let state: Mutex<State>
    private let outer: Pacer?

    /// Somebody who waits looks this often whether the rate has changed.
    private static let longestPause = 0.5
    /// The longest that one object keeps the next one waiting, in seconds, as far as packs can be that small.
    private static let burst = 4

    /// - Parameters:
    ///   - bytesPerSecond: nil for as many as there are.
    ///   - outer: whose rate holds, too.
    public init(bytesPerSecond: UInt64? = nil, within outer: Pacer? = nil) {
        state = Mutex(State(bytesPerSecond: bytesPerSecond))
        self.outer = outer
    }

    public var bytesPerSecond: UInt64? {
        get { state.withLock { $0.bytesPerSecond } }
        set {
            state.withLock { state in
                // What was owed until now was paid off at the rate that held.
                state.settle(at: .now)
                state.bytesPerSecond = newValue
                if newValue == nil { state.debt = 0 }
            }
        }
    }

    /// Waits until so many bytes may be sent.
    ///
    /// - Throws: `CancellationError` where the task is cancelled.
    func pass(_ bytes: Int) async throws {
        while let pause = take(bytes) { try await Task.sleep(for: .seconds(min(pause, Self.longestPause))) }
        try await outer?.pass(bytes)
    }

    /// - Returns: nil where they may go now; else for how many seconds not.
    private func take(_ bytes: Int) -> Double? {
        state.withLock { state in
            guard let rate = state.bytesPerSecond else { return nil }
            state.settle(at: .now)
            guard state.debt <= 0 else { return state.debt / Double(rate) }
            state.debt = Double(bytes)
            return nil
        }
    }

    /// How large packs are to be made, where they are wanted to be of `bytes`.
    func packBytes(_ bytes: Int) -> Int {
        let bytes = outer?.packBytes(bytes) ?? bytes
        guard let rate = bytesPerSecond else { return bytes }
        return min(bytes, max(1 << 20, Int(clamping: rate) * Self.burst))
    }
}
