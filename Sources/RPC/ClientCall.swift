import CGRPC
import Synchronization

/// One call at the client, from its creation until gRPC has let go of it.
final class ClientCall: Sendable {
    private struct State {
        /// Entered while the call is being cancelled; closed when gRPC is done, and then the call is freed.
        var gate = OperationGate<Void>()
        var outcome: RPCStatus?
        var waiting: [CheckedContinuation<RPCStatus, Never>] = []
        var response: [UInt8]?
    }

    private let handle: Handle
    /// The messages of a streaming call; a unary one has no use for it.
    let flow: MessageFlow<Void>
    private let isUnary: Bool
    private let onEnd: @Sendable () -> Void
    private let state = Mutex(State())

    /// - Parameters:
    ///   - handle: of a call that was created and not started.
    ///   - onEnd: called once, when gRPC is done with the call and it is freed.
    init(_ handle: Handle, isUnary: Bool, onEnd: @escaping @Sendable () -> Void) {
        (self.handle, self.isUnary, self.onEnd) = (handle, isUnary, onEnd)
        flow = MessageFlow(
            .init(
                read: { cgrpc_call_read(handle.pointer) },
                write: { outgoing in
                    switch outgoing {
                    case .message(let message): message.withCBytes { cgrpc_call_write(handle.pointer, $0, false) }
                    case .lastMessage(let message): message.withCBytes { cgrpc_call_write(handle.pointer, $0, true) }
                    case .end: cgrpc_call_close_writing(handle.pointer)
                    }
                },
                close: { cgrpc_call_end_operations(handle.pointer) }))
    }

    /// Must be called exactly once for a unary call.
    func startUnary(_ request: [UInt8]) {
        let context = Unmanaged.passRetained(self).toOpaque()
        request.withCBytes { cgrpc_call_start_unary(handle.pointer, context, $0) }
    }

    /// Must be called exactly once for a streaming call; `flow` is of use from then on.
    func startStream() {
        cgrpc_call_start_stream(handle.pointer, Unmanaged.passRetained(self).toOpaque())
    }

    /// Allowed at any time.
    func cancel() {
        guard state.withLock({ $0.gate.enter() }) else { return }
        cgrpc_call_cancel(handle.pointer)
        if state.withLock({ $0.gate.leave() }) != nil { free() }
    }

    /// Waits for the end of a call that was started.
    func outcome() async -> RPCStatus {
        await withCheckedContinuation { continuation in
            let outcome = state.withLock { state in
                if state.outcome == nil { state.waiting.append(continuation) }
                return state.outcome
            }
            if let outcome { continuation.resume(returning: outcome) }
        }
    }

    /// What a unary call that succeeded brought.
    var response: [UInt8]? { state.withLock { $0.response } }

    // MARK: gRPC's callbacks

    /// For `cgrpc_call_create`; the contexts are retained `ClientCall`s.
    static let callbacks = cgrpc_client_callbacks(
        on_read: { call, message in
            Unmanaged<ClientCall>.fromOpaque(call).takeUnretainedValue().readEnded(message.map { Array(message: $0) })
        },
        on_write: { Unmanaged<ClientCall>.fromOpaque($0).takeUnretainedValue().flow.writeEnded($1) },
        on_done: { Unmanaged<ClientCall>.fromOpaque($0).takeRetainedValue().ended(RPCStatus($1.pointee)) })

    private func readEnded(_ message: [UInt8]?) {
        guard !isUnary else { return state.withLock { $0.response = message } }
        flow.readEnded(message)
        // No message follows because the call is over: gRPC waits for this before it tells the outcome.
        if message == nil { flow.close(with: ()) }
    }

    private func ended(_ status: RPCStatus) {
        let (waiting, isFree) = state.withLock { state in
            state.outcome = status
            defer { state.waiting = [] }
            return (state.waiting, state.gate.close(with: ()) != nil)
        }
        for continuation in waiting { continuation.resume(returning: status) }
        if isFree { free() }
    }

    /// Not here, because this may be gRPC's thread, which must not free a call.
    private func free() {
        Task {
            cgrpc_call_destroy(handle.pointer)
            onEnd()
        }
    }
}
