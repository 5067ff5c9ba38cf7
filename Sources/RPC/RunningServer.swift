import Blocking
import CGRPC
import Errors

/// A server that listens: gRPC's part of it, and the socket files.
final class RunningServer: Sendable {
    /// How long a cancelled handler may take to notice.
    private static let patience = Duration.seconds(5)

    let addresses: [RPCAddress]
    private let core: ServerCore
    private let handle: Handle
    private let sockets: [SocketFile]

    private init(_ addresses: [RPCAddress], _ core: ServerCore, _ handle: Handle, _ sockets: [SocketFile]) {
        (self.addresses, self.core, self.handle, self.sockets) = (addresses, core, handle, sockets)
    }

    static func start(
        _ methods: [RPCMethod], _ options: RPCServer.Options, on addresses: [RPCAddress]
    ) async throws -> RunningServer {
        guard !addresses.isEmpty else { throw PerSSDError(.invalidArgument, "a server needs an address to listen on") }
        var table: [String: RPCMethod] = [:]
        for method in methods where table.updateValue(method, forKey: method.path) != nil {
            throw PerSSDError(.invalidArgument, "the server was given the method \(method.path) twice")
        }
        try options.tls?.check()
        let core = ServerCore(table, options: options)
        // Looks up names, and talks to whoever may be behind a socket.
        return try await BlockingPool.shared.run { try start(core, options, on: addresses) }
    }

    private static func start(
        _ core: ServerCore, _ options: RPCServer.Options, on addresses: [RPCAddress]
    ) throws -> RunningServer {
        var sockets: [SocketFile] = []
        do {
            var listeners: [RPCAddress] = []
            for address in addresses {
                guard case .unix(let path) = address else {
                    listeners.append(address)
                    continue
                }
                let socket = try SocketFile.prepare(path)
                sockets.append(socket)
                listeners.append(.unix(path: socket.temporaryPath))
            }
            let (handle, bound) = try start(core, options, listeners)
            do {
                for socket in sockets { try socket.publish(mode: options.socketMode) }
            } catch {
                stop(handle, core, gracePeriod: .zero)
                throw error
            }
            let named = zip(addresses, bound).map { address, port -> RPCAddress in
                if case .tcp(let host, _) = address { return .tcp(host: host, port: port) }
                return address
            }
            return RunningServer(named, core, handle, sockets)
        } catch {
            for socket in sockets { socket.remove() }
            throw error
        }
    }

    private static func start(
        _ core: ServerCore, _ options: RPCServer.Options, _ addresses: [RPCAddress]
    ) throws -> (Handle, [UInt16]) {
        func clamped(_ number: Int) -> Int32 { Int32(clamping: number) }
        var cOptions = cgrpc_server_options(
            max_receive_bytes: clamped(options.maximumReceiveSize), max_send_bytes: clamped(options.maximumSendSize),
            max_streams_per_connection: clamped(options.maximumConcurrentCalls),
            handshake_timeout_ms: clamped(Int(options.handshakeTimeout.nanoseconds / 1_000_000)),
            keepalive_time_ms: 60_000, keepalive_timeout_ms: 20_000)
        var callbacks = ServerCore.callbacks
        let context = Unmanaged.passRetained(core)
        let texts = addresses.map { Array($0.listenerText.utf8CString) }
        let joined = texts.flatMap { $0 }
        let result = joined.withUnsafeBufferPointer { characters in
            withCTLS(options.tls) { tls -> (OpaquePointer, [UInt16])? in
                var offset = 0
                var listeners: [cgrpc_listener] = []
                for (address, text) in zip(addresses, texts) {
                    let isTCP = if case .tcp = address { true } else { false }
                    listeners.append(
                        cgrpc_listener(
                            address: characters.baseAddress! + offset, tls: isTCP ? tls : nil, bound_port: 0))
                    offset += text.count
                }
                let server = cgrpc_server_start(
                    &cOptions, &listeners, listeners.count, &callbacks, context.toOpaque())
                return server.map { ($0, listeners.map { UInt16(truncatingIfNeeded: $0.bound_port) }) }
            }
        }
        guard let (server, ports) = result else {
            context.release()
            throw ListenFailure.explain(addresses)
        }
        return (Handle(server), ports)
    }

    /// See `RPCServer.shutdown`.
    func stop(gracePeriod: Duration) async -> Int {
        core.stops()
        let threads = BlockingPool(label: "rpc-shutdown", maximumThreads: 1)
        // Nothing in here throws.
        try? await threads.run { [self] in
            for socket in sockets { socket.remove() }
            Self.stop(handle, core, gracePeriod: gracePeriod)
        }
        await core.waitForHandlers(atMost: Self.patience)
        return core.runningHandlers
    }

    /// Blocks.
    private static func stop(_ handle: Handle, _ core: ServerCore, gracePeriod: Duration) {
        cgrpc_server_shutdown(handle.pointer, gracePeriod.nanoseconds)
        cgrpc_server_destroy(handle.pointer)
        // Taken for the callbacks, of which none comes any more.
        Unmanaged.passUnretained(core).release()
    }
}

/// Lends a server's TLS parts to C, where it has any.
private func withCTLS<Result>(
    _ tls: RPCServerTLS?, _ body: (UnsafePointer<cgrpc_tls>?) throws -> Result
) rethrows -> Result {
    guard let tls else { return try body(nil) }
    return try tls.withCParts { try body(&$0) }
}
