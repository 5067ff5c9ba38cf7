import Blocking
import CGRPC
import Errors
import Synchronization

/// A gRPC client. It connects when it is first used and again whenever the connection was lost; many calls share one
/// connection.
///
/// Close it when it is no longer needed. One that is let go of without that is closed by itself, in the background, when
/// its calls have ended.
public final class RPCClient: RPCChannel {
    public struct Options: Sendable {
        /// The largest response that is accepted, in bytes; a larger one fails the call with RESOURCE_EXHAUSTED.
        public var maximumReceiveSize = 4 << 20
        /// The largest request that is sent, in bytes; a larger one fails the call with RESOURCE_EXHAUSTED.
        public var maximumSendSize = Int(Int32.max)
        /// Calls wait, until their deadline, for a server that is not there, instead of failing with UNAVAILABLE.
        public var waitsForReady = false
        /// Speak TLS with these; without, plain text. For TCP only.
        public var tls: RPCClientTLS?

        public init() {}
    }

    /// The calls that run, and whether there may be more.
    private struct State {
        var channel: Handle?
        var calls: [UInt64: ClientCall] = [:]
        var lastCall: UInt64 = 0
        var waiting: [CheckedContinuation<Void, Never>] = []
    }

    /// Outlives the client while calls run.
    private final class Calls: Sendable {
        let state = Mutex(State())

        func ended(_ number: UInt64) {
            let waiting = state.withLock { state -> [CheckedContinuation<Void, Never>] in
                state.calls[number] = nil
                guard state.channel == nil, state.calls.isEmpty else { return [] }
                defer { state.waiting = [] }
                return state.waiting
            }
            for continuation in waiting { continuation.resume() }
        }
    }

    public let address: RPCAddress
    private let waitsForReady: Bool
    private let calls = Calls()

    /// Connects to nothing yet.
    ///
    /// - Throws: `PerSSDError` (invalidArgument) where TLS is asked for on a Unix socket, or its parts are not usable.
    public init(_ address: RPCAddress, options: Options = Options()) throws {
        self.address = address
        waitsForReady = options.waitsForReady
        if options.tls != nil, case .unix = address {
            throw PerSSDError(
                .invalidArgument, "cannot connect to \(address) with TLS",
                remedy: "use TLS with a TCP address, and plain text with a Unix socket")
        }
        try options.tls?.check()
        var cOptions = cgrpc_channel_options(
            max_receive_bytes: Int32(clamping: options.maximumReceiveSize),
            max_send_bytes: Int32(clamping: options.maximumSendSize),
            keepalive_time_ms: 30_000, keepalive_timeout_ms: 20_000, max_reconnect_backoff_ms: 5_000)
        let channel = withCTLS(options.tls) { cgrpc_channel_create(address.targetText, $0, &cOptions) }
        guard let channel else { throw PerSSDError(.invalidArgument, "gRPC cannot connect to \(address)") }
        calls.state.withLock { $0.channel = Handle(channel) }
    }

    deinit {
        let channel = calls.state.withLock { state in
            defer { state.channel = nil }
            return state.channel
        }
        if let channel { Task { await Self.destroy(channel) } }
    }

    /// Cancels the calls that run, waits for their end and closes the connection. Later calls fail with UNAVAILABLE.
    public func close() async {
        let (channel, running) = calls.state.withLock { state in
            defer { state.channel = nil }
            return (state.channel, Array(state.calls.values))
        }
        for call in running { call.cancel() }
        await withCheckedContinuation { continuation in
            let isIdle = calls.state.withLock { state in
                if !state.calls.isEmpty { state.waiting.append(continuation) }
                return state.calls.isEmpty
            }
            if isIdle { continuation.resume() }
        }
        if let channel { await Self.destroy(channel) }
    }

    /// Elsewhere, because it may wait for gRPC's threads.
    private static func destroy(_ channel: Handle) async {
        // Nothing in here throws.
        try? await BlockingPool.shared.run { cgrpc_channel_destroy(channel.pointer) }
    }

    // MARK: Calls

    public func unary(_ path: String, _ request: [UInt8], options: RPCCallOptions) async throws -> [UInt8] {
        let call = try begin(path, options, isUnary: true)
        let status = await withTaskCancellationHandler {
            call.startUnary(request)
            return await call.outcome()
        } onCancel: {
            call.cancel()
        }
        guard status.code == .ok else { throw status }
        guard let response = call.response else {
            throw RPCStatus(.internal, "the server answered \(path) with OK and no response")
        }
        return response
    }

    public func serverStreaming(
        _ path: String, _ request: [UInt8], options: RPCCallOptions
    ) -> AsyncThrowingStream<[UInt8], any Error> {
        do {
            let call = RPCStreamingCall(try begin(path, options, isUnary: false))
            call.sendOnly(request)
            return call.responses
        } catch {
            return AsyncThrowingStream { throw error }
        }
    }

    /// A call whose two sides send any number of messages, each at its own pace.
    ///
    /// - Throws: `RPCStatus`, when the call can't even be begun; whatever happens later is told by its streams.
    public func bidirectional(
        _ path: String, options: RPCCallOptions = RPCCallOptions()
    ) throws -> RPCStreamingCall {
        RPCStreamingCall(try begin(path, options, isUnary: false))
    }

    /// A call that must be started.
    private func begin(_ path: String, _ options: RPCCallOptions, isUnary: Bool) throws -> ClientCall {
        guard path.utf8.first == UInt8(ascii: "/"), path.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
            throw RPCStatus(.invalidArgument, "\"\(path)\" is not the path of a method: /package.Service/Method")
        }
        return try withCEntries(options.metadata) { entries, count in
            for (index, entry) in UnsafeBufferPointer(start: entries, count: count).enumerated()
            where !cgrpc_entry_is_legal(entry) {
                throw RPCStatus(
                    .invalidArgument,
                    "gRPC does not allow the metadata \"\(options.metadata[index].key)\": keys are lowercase, and values "
                        + "visible ASCII unless the key ends in -bin")
            }
            return try path.withCBytes { path in
                var cOptions = cgrpc_call_options(
                    path: path, timeout_ns: options.timeout?.nanoseconds ?? .max, wait_for_ready: waitsForReady,
                    metadata: entries, metadata_count: count)
                return try begin(&cOptions, isUnary: isUnary)
            }
        }
    }

    private func begin(_ options: inout cgrpc_call_options, isUnary: Bool) throws -> ClientCall {
        var callbacks = ClientCall.callbacks
        let call = calls.state.withLock { state -> ClientCall? in
            guard let channel = state.channel,
                let handle = cgrpc_call_create(channel.pointer, &options, &callbacks)
            else { return nil }
            state.lastCall += 1
            let number = state.lastCall
            let call = ClientCall(Handle(handle), isUnary: isUnary) { [calls] in calls.ended(number) }
            state.calls[number] = call
            return call
        }
        guard let call else { throw RPCStatus(.unavailable, "the client of \(address) is closed") }
        return call
    }
}

/// Lends a client's TLS parts to C, where it has any.
private func withCTLS<Result>(
    _ tls: RPCClientTLS?, _ body: (UnsafePointer<cgrpc_tls>?) throws -> Result
) rethrows -> Result {
    guard let tls else { return try body(nil) }
    return try tls.withCParts { try body(&$0) }
}
