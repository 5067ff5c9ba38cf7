import Persistence
import Synchronization
import Units

/// How far a piece of work is, in words, for whoever asks while it runs.
final class WorkProgress: Sendable {
    private let state: Mutex<State>

    private struct State {
        var phase: String
        var since: ContinuousClock.Instant
        var transfer: (@Sendable () -> TransferProgress)?
    }

    init(_ phase: String) { state = Mutex(State(phase: phase, since: .now)) }

    /// Enters another phase.
    ///
    /// - Parameter transfer: where bytes are moved in it, how many.
    func enter(_ phase: String, transfer: (@Sendable () -> TransferProgress)? = nil) {
        state.withLock { $0 = State(phase: phase, since: .now, transfer: transfer) }
    }

    /// What has been moved in this phase; nil where nothing is.
    var transferred: TransferProgress? { state.withLock { $0.transfer }?() }

    /// "staging out: 43%, 12.3 GiB of 28.6 GiB, about 2 min 0 s left".
    var text: String {
        let (phase, since, transfer) = state.withLock { ($0.phase, $0.since, $0.transfer) }
        guard let progress = transfer?(), progress.totalBytes > 0 else { return phase }
        let total = progress.totalBytes
        let done = min(progress.doneBytes, total)
        let percent = Int(Double(done) / Double(total) * 100)
        var text = "\(phase): \(percent)%, \(ByteCount(done)) of \(ByteCount(total))"
        let elapsed = ContinuousClock.now - since
        if done > 0, total > done, elapsed >= .seconds(1) {
            let left = elapsed * (Double(total - done) / Double(done))
            text += ", about \(left.text) left"
        }
        return text
    }
}
