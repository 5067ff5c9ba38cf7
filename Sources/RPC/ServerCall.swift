import CGRPC
import Synchronization

/// One call at the server, from its arrival until its handler has ended and gRPC has let go of it.
///
/// gRPC's side and the handler's task end independently: a cancelled call is finished at once, whatever its handler still
/// does, and what the handler does to it afterwards goes nowhere.
final class ServerCall: Sendable {
    /// How a call ends: the outcome, and for a unary call that succeeded its response.
    struct Ending: Sendable {
        var status: RPCStatus
        var response: [UInt8]?
    }

    private enum Phase {
        case waitingForRequest
        case running(Task<Void, Never>?)
        case ended
    }

    private struct State {
        var phase = Phase.waitingForRequest
        /// How it ended and when.
        var outcome: (status: RPCStatus, duration: Duration)?
    }

    /// What a call is answered that brings no request. It is also what a call that breaks early looks like at first.
    private static let withoutRequest = RPCStatus(.internal, "the call came without a request")

    let context: RPCContext
    private let method: RPCMethod
    private let service: ServerCore
    private let handle: Handle
    private let flow: MessageFlow<Ending>
    private let arrival = ContinuousClock.now
    private let state = Mutex(State())

    init(_ handle: Handle, method: RPCMethod, context: RPCContext, service: ServerCore) {
        (self.handle, self.method, self.context, self.service) = (handle, method, context, service)
        flow = MessageFlow(
            .init(
                read: { cgrpc_server_call_read(handle.pointer) },
                write: { outgoing in
                    guard case .message(let message) = outgoing else { return }
                    message.withCBytes { cgrpc_server_call_write(handle.pointer, $0) }
                },
                close: { ending in ending.status.withCStatus { status in ending.finish(handle, status) } }))
    }

    /// Starts what the method's kind needs first.
    func begin() {
        switch method.handler {
        case .unary, .serverStreaming: flow.startReading()
        case .bidirectional: run(request: [])
        }
    }

    // MARK: gRPC's callbacks

    func readEnded(_ message: [UInt8]?) {
        let isRequest = state.withLock { if case .waitingForRequest = $0.phase { true } else { false } }
        switch method.handler {
        case .unary, .serverStreaming:
            guard isRequest else { return }
            if let message {
                run(request: message)
            } else {
                end(Self.withoutRequest)
            }
        case .bidirectional: flow.readEnded(message)
        }
    }

    func writeEnded(_ succeeded: Bool) { flow.writeEnded(succeeded) }

    func cancelled() {
        let task = state.withLock { state -> Task<Void, Never>? in
            defer { state.phase = .ended }
            if case .running(let task) = state.phase { return task }
            return nil
        }
        task?.cancel()
        let reason = reasonOfCancellation
        end(reason)
        state.withLock { state in
            if state.outcome?.status == Self.withoutRequest { state.outcome?.status = reason }
        }
    }

    func done() {
        guard let (status, duration) = state.withLock({ $0.outcome }) else { return }
        service.record(RPCCallRecord(path: context.path, peer: context.peer, duration: duration, status: status))
    }

    /// gRPC tells the client; this is for the record.
    private var reasonOfCancellation: RPCStatus {
        // A client whose deadline passes cancels, by its own clock, before the server's passes: gRPC rounds deadlines up.
        if let deadline = context.deadline, deadline - .now <= max(.milliseconds(100), (deadline - arrival) / 50) {
            return RPCStatus(.deadlineExceeded, "the client's deadline passed")
        }
        return service.isStopping
            ? RPCStatus(.unavailable, "the server is shutting down")
            : RPCStatus(.cancelled, "the client cancelled or went away")
    }

    // MARK: The handler

    private func run(request: [UInt8]) {
        guard service.handlerBegins() else {
            end(RPCStatus(.unavailable, "the server is busy: it serves \(service.maximumConcurrentCalls) calls"))
            return
        }
        let wanted = state.withLock { state in
            guard case .waitingForRequest = state.phase else { return false }
            state.phase = .running(nil)
            return true
        }
        guard wanted else { return service.handlerEnded() }
        let task = Task {
            await self.handle(request)
            self.service.handlerEnded()
        }
        let isCancelled = state.withLock { state in
            guard case .running = state.phase else { return true }
            state.phase = .running(task)
            return false
        }
        if isCancelled { task.cancel() }
    }

    private func handle(_ request: [UInt8]) async {
        do {
            switch method.handler {
            case .unary(let handler):
                let response = try await handler(request, context)
                try service.checkSize(of: response)
                end(RPCStatus(.ok, ""), response: response)
            case .serverStreaming(let handler):
                try await handler(request, context, Writer(call: self))
                end(RPCStatus(.ok, ""))
            case .bidirectional(let handler):
                let requests = AsyncThrowingStream { try await self.nextRequest() }
                try await handler(requests, context, Writer(call: self))
                end(RPCStatus(.ok, ""))
            }
        } catch let status as RPCStatus {
            end(status.code == .ok ? RPCStatus(.unknown, "the handler failed with the status OK") : status)
        } catch {
            end(RPCStatus(.unknown, "\(type(of: error))"))
        }
    }

    private func nextRequest() async throws -> [UInt8]? {
        if let request = try await flow.receive() { return request }
        let isBroken = state.withLock { if case .ended = $0.phase { true } else { false } }
        if isBroken { throw RPCStatus(.cancelled, "the call was cancelled before its last request") }
        return nil
    }

    private func end(_ status: RPCStatus, response: [UInt8]? = nil) {
        let duration = .now - arrival
        let isFirst = state.withLock { state in
            state.phase = .ended
            guard state.outcome == nil else { return false }
            state.outcome = (status, duration)
            return true
        }
        guard isFirst else { return }
        flow.close(with: Ending(status: status, response: response))
    }

    private struct Writer: RPCWriter {
        let call: ServerCall

        func send(_ message: [UInt8]) async throws {
            try call.service.checkSize(of: message)
            try await call.flow.send(.message(message))
        }
    }
}

extension ServerCall.Ending {
    fileprivate func finish(_ handle: Handle, _ status: cgrpc_status) {
        var status = status
        guard let response else { return cgrpc_server_call_finish(handle.pointer, nil, &status) }
        response.withCBytes { bytes in
            var bytes = bytes
            cgrpc_server_call_finish(handle.pointer, &bytes, &status)
        }
    }
}
