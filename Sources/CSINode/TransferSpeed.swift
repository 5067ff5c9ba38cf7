import Synchronization

/// How fast this node's stage-outs have been of late, to tell which of them can make it in time.
final class TransferSpeed: Sendable {
    private struct Sums {
        var bytes = 0.0
        var seconds = 0.0
    }
    private let sums = Mutex(Sums())

    /// What is sent in less than this tells of latency, and not of speed.
    private static let least: UInt64 = 1 << 20
    /// What one transfer counts when another has come after it: the last few tell.
    private static let fading = 0.7

    /// - Parameter bytes: that had changed, of which some may not have had to be sent.
    func note(_ bytes: UInt64, in duration: Duration) {
        let seconds = duration / .seconds(1)
        guard bytes >= Self.least, seconds > 0 else { return }
        sums.withLock { sums in
            sums.bytes = sums.bytes * Self.fading + Double(bytes)
            sums.seconds = sums.seconds * Self.fading + seconds
        }
    }

    /// Of one transfer, beside as many others as there were; nil while there was none.
    var bytesPerSecond: Double? { sums.withLock { $0.seconds > 0 ? $0.bytes / $0.seconds : nil } }
}
