import Synchronization

/// Something to send on a stream.
enum Outgoing: Sendable {
    case message([UInt8])
    /// A message after which none follows.
    case lastMessage([UInt8])
    /// No message follows.
    case end
}

/// The messages of one call in both directions, between tasks that wait and gRPC, which answers each operation with a
/// callback. Back-pressure in both directions: a message is read when somebody asks for it, and a sender waits until
/// its message is taken.
///
/// When a waiting task is cancelled it is let go at once; the operation goes on, and a message that was read meanwhile is
/// kept for the next who asks.
final class MessageFlow<Ending: Sendable>: Sendable {
    /// What is done on the handle. Called without a lock held, as gRPC may answer at once.
    struct Operations: Sendable {
        var read: @Sendable () -> Void
        var write: @Sendable (Outgoing) -> Void
        /// Called once, when no operation is being started and no write is under way; none is started after.
        var close: @Sendable (Ending) -> Void
    }

    private let operations: Operations
    private let state = Mutex(FlowState<Ending>())

    init(_ operations: Operations) { self.operations = operations }

    // MARK: Tasks

    /// The next message; nil when there is none any more.
    ///
    /// - Throws: `CancellationError` when the task is cancelled; `RPCStatus` (internal) when another task waits too.
    func receive() async throws -> [UInt8]? {
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                perform(state.withLock { $0.receive(continuation) })
                if Task.isCancelled { abandonReceive() }
            }
        } onCancel: {
            abandonReceive()
        }
    }

    /// Sends, and waits until gRPC takes the next. Several tasks may send; they take turns.
    ///
    /// - Throws: `CancellationError` when the task is cancelled, and then the message may have been sent; `RPCStatus`
    ///   (cancelled) when the call is over.
    func send(_ outgoing: Outgoing) async throws {
        let ticket = state.withLock { $0.nextTicket() }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                perform(state.withLock { $0.send(outgoing, ticket, continuation) })
                if Task.isCancelled { abandonSend(ticket) }
            }
        } onCancel: {
            abandonSend(ticket)
        }
    }

    private func abandonReceive() { perform(state.withLock { $0.abandonReceive() }) }

    private func abandonSend(_ ticket: UInt64) { perform(state.withLock { $0.abandonSend(ticket) }) }

    // MARK: The call

    /// Starts a read whose message nobody waits for yet.
    func startReading() { perform(state.withLock { $0.startReading() }) }

    /// Starts a write that nobody waits for.
    func startSending(_ outgoing: Outgoing) { perform(state.withLock { $0.startSending(outgoing) }) }

    /// Starts no operation any more, and closes the handle as soon as that may be. The first ending counts.
    func close(with ending: Ending) { perform(state.withLock { $0.close(with: ending) }) }

    // MARK: gRPC's answers

    func readEnded(_ message: [UInt8]?) { perform(state.withLock { $0.readEnded(message) }) }

    func writeEnded(_ succeeded: Bool) { perform(state.withLock { $0.writeEnded(succeeded) }) }

    // MARK: -

    private func perform(_ actions: [FlowState<Ending>.Action]) {
        for action in actions {
            switch action {
            case .read:
                operations.read()
                perform(state.withLock { $0.started() })
            case .write(let outgoing):
                // The gate stays entered until the write's end, so that no ending overtakes it.
                operations.write(outgoing)
            case .received(let continuation, let result): continuation.resume(with: result)
            case .sent(let continuation, let result): continuation.resume(with: result)
            case .close(let ending): operations.close(ending)
            }
        }
    }
}
