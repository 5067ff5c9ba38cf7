/// A call with any number of messages in both directions. Letting go of it and of its responses cancels it.
public final class RPCStreamingCall: RPCWriter {
    private let call: ClientCall

    init(_ call: ClientCall) {
        self.call = call
        call.startStream()
    }

    deinit { abandon() }

    /// Sends a message, and waits while the server is slower. Several tasks may send; they take turns.
    ///
    /// - Throws: `RPCStatus` (cancelled) when the call is over or the task is cancelled, which cancels the call. The
    ///   call's true outcome is at the end of `responses`.
    public func send(_ message: [UInt8]) async throws { try await sending(.message(message)) }

    /// Tells the server that no message follows.
    ///
    /// - Throws: as `send`.
    public func finishSending() async throws { try await sending(.end) }

    /// What the server sends, each read when it is asked for. Ends when the call succeeded, and throws the `RPCStatus` of
    /// one that failed. All streams are one: a message goes to who asks first, and one task may ask at a time.
    public var responses: AsyncThrowingStream<[UInt8], any Error> {
        AsyncThrowingStream { try await self.next() }
    }

    public func cancel() { abandon() }

    /// The one request of a call whose server alone goes on.
    func sendOnly(_ request: [UInt8]) { call.flow.startSending(.lastMessage(request)) }

    private func sending(_ outgoing: Outgoing) async throws {
        do {
            try await call.flow.send(outgoing)
        } catch is CancellationError {
            throw cancelled()
        }
    }

    private func next() async throws -> [UInt8]? {
        do {
            if let message = try await call.flow.receive() { return message }
        } catch is CancellationError {
            throw cancelled()
        }
        let status = await call.outcome()
        if status.code != .ok { throw status }
        return nil
    }

    private func cancelled() -> RPCStatus {
        abandon()
        return RPCStatus(.cancelled, "the caller cancelled")
    }

    private func abandon() {
        call.cancel()
        // gRPC tells the outcome, and lets go of the call, only when it knows that nothing more is asked of it.
        call.flow.close(with: ())
    }
}
