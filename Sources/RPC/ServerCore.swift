import CGRPC
import Synchronization

/// What the calls of a server share: its methods, its limits and the count of its handlers.
final class ServerCore: Sendable {
    let maximumConcurrentCalls: Int
    private let maximumSendSize: Int
    private let methods: [String: RPCMethod]
    private let observer: (@Sendable (RPCCallRecord) -> Void)?
    private let stopping = Atomic(false)
    private let handlers = Mutex((count: 0, waiting: [CheckedContinuation<Void, Never>]()))

    init(_ methods: [String: RPCMethod], options: RPCServer.Options) {
        self.methods = methods
        maximumConcurrentCalls = options.maximumConcurrentCalls
        maximumSendSize = options.maximumSendSize
        observer = options.observer
    }

    func record(_ record: RPCCallRecord) { observer?(record) }

    func checkSize(of message: [UInt8]) throws(RPCStatus) {
        guard message.count > maximumSendSize else { return }
        throw RPCStatus(
            .resourceExhausted, "the response has \(message.count) bytes, the limit is \(maximumSendSize)")
    }

    /// Whether calls that are cancelled now are so because the server stops.
    var isStopping: Bool { stopping.load(ordering: .relaxed) }

    func stops() { stopping.store(true, ordering: .relaxed) }

    // MARK: Handlers

    /// Counts a handler in; false when there are as many as may be.
    func handlerBegins() -> Bool {
        handlers.withLock { handlers in
            guard handlers.count < maximumConcurrentCalls else { return false }
            handlers.count += 1
            return true
        }
    }

    func handlerEnded() {
        let waiting = handlers.withLock { handlers -> [CheckedContinuation<Void, Never>] in
            handlers.count -= 1
            guard handlers.count == 0 else { return [] }
            defer { handlers.waiting = [] }
            return handlers.waiting
        }
        for continuation in waiting { continuation.resume() }
    }

    var runningHandlers: Int { handlers.withLock { $0.count } }

    /// Waits until no handler runs, at most for the time given.
    func waitForHandlers(atMost time: Duration) async {
        let timer = Task {
            try? await Task.sleep(for: time)
            let waiting = handlers.withLock { handlers in
                defer { handlers.waiting = [] }
                return handlers.waiting
            }
            for continuation in waiting { continuation.resume() }
        }
        await withCheckedContinuation { continuation in
            let isIdle = handlers.withLock { handlers in
                if handlers.count != 0 { handlers.waiting.append(continuation) }
                return handlers.count == 0
            }
            if isIdle { continuation.resume() }
        }
        timer.cancel()
        await timer.value
    }

    // MARK: gRPC's callbacks

    /// For `cgrpc_server_start`, whose server context is this object, and whose calls' contexts are retained `ServerCall`s.
    static let callbacks = cgrpc_server_callbacks(
        on_call: { server, call, info in
            let core = Unmanaged<ServerCore>.fromOpaque(server).takeUnretainedValue()
            return core.accept(Handle(call), info.pointee)
        },
        on_read: { call, message in
            Unmanaged<ServerCall>.fromOpaque(call).takeUnretainedValue().readEnded(message.map { Array(message: $0) })
        },
        on_write: { Unmanaged<ServerCall>.fromOpaque($0).takeUnretainedValue().writeEnded($1) },
        on_cancel: { Unmanaged<ServerCall>.fromOpaque($0).takeUnretainedValue().cancelled() },
        on_done: { Unmanaged<ServerCall>.fromOpaque($0).takeRetainedValue().done() })

    private func accept(_ handle: Handle, _ info: cgrpc_call_info) -> UnsafeMutableRawPointer {
        let path = String(info.path)
        let metadata = UnsafeBufferPointer(start: info.metadata, count: info.metadata_count).map {
            (key: String($0.key), value: Array($0.value))
        }
        let context = RPCContext(
            path: path,
            deadline: info.remaining_ns == .max ? nil : .now + .nanoseconds(info.remaining_ns),
            metadata: metadata, peer: String(info.peer), peerCertificate: Array(info.peer_certificate))
        let method = methods[path] ?? Self.unknownMethod(path)
        let call = ServerCall(handle, method: method, context: context, service: self)
        call.begin()
        return Unmanaged.passRetained(call).toOpaque()
    }

    private static func unknownMethod(_ path: String) -> RPCMethod {
        RPCMethod(path, .bidirectional { _, _, _ in throw RPCStatus(.unimplemented, "unknown method \(path)") })
    }
}
