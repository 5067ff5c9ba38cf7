import Synchronization

/// What a transfer did, in numbers.
public struct TransferStatistics: Sendable, Equatable {
    /// Bytes read from the source, or of blocks read back from the store.
    public var readBytes: UInt64 = 0
    /// Bytes written to the sink; what was zeroed is not among them.
    public var writtenBytes: UInt64 = 0
    /// Bytes of the sink that were made zero.
    public var zeroedBytes: UInt64 = 0
    public var blocksExamined: UInt64 = 0
    /// Of those examined, that differ from the parent generation.
    public var blocksChanged: UInt64 = 0
    /// Of those examined, that are all zeros.
    public var blocksZero: UInt64 = 0
    /// Of those changed, whose contents the same stage-out had stored already.
    public var blocksShared: UInt64 = 0
    /// Of those changed, that were stored as a patch.
    public var blocksPatched: UInt64 = 0
    /// Plain bytes of the blocks and patches that were stored, and what they take as stored.
    public var plainBytes: UInt64 = 0
    public var storedBytes: UInt64 = 0
    public var nodesRead: UInt64 = 0
    public var nodesWritten: UInt64 = 0
    /// Stored bytes of the map nodes written.
    public var nodeBytes: UInt64 = 0
    public var packsWritten: UInt64 = 0
    /// Bytes of whole objects sent to the store, and of ranges received from it.
    public var sentBytes: UInt64 = 0
    public var receivedBytes: UInt64 = 0
    /// Calls of the store, each at least one request.
    public var readRequests: UInt64 = 0
    public var writeRequests: UInt64 = 0

    public init() {}
}

/// The progress and the numbers of one transfer, readable from anywhere while it runs.
public final class TransferMeter: Sendable {
    private struct State {
        var progress = TransferProgress()
        var statistics = TransferStatistics()
    }
    private let state = Mutex(State())

    public init() {}

    public var progress: TransferProgress {
        state.withLock {
            var progress = $0.progress
            progress.transferredBytes = $0.statistics.sentBytes + $0.statistics.receivedBytes
            return progress
        }
    }

    public var statistics: TransferStatistics { state.withLock { $0.statistics } }

    func expect(_ bytes: UInt64) { state.withLock { $0.progress.totalBytes += bytes } }
    func done(_ bytes: UInt64) { state.withLock { $0.progress.doneBytes += bytes } }
    func count(_ change: (inout TransferStatistics) -> Void) { state.withLock { change(&$0.statistics) } }
}
