import Errors
import Logging
import RPC
import ServiceLifecycle

/// An RPC server as a part of a process: it serves until the process is told to end.
public struct RPCService: Service {
    /// How long calls that run may go on once the process is told to end. Kubernetes kills a pod after 30 s.
    public static let gracePeriod = Duration.seconds(20)
    /// How long the start may take before calls are answered all the same, as `StartupGate` says. An ordinary one is over by then,
    /// and nobody finds a socket that is of no use yet. Sidecars give up after 30 s without one.
    static let patience = Duration.seconds(10)

    private let methods: [RPCMethod]
    private let address: RPCAddress
    private let startup: Startup
    private let logger: Logger

    /// - Parameter process: whose start the methods wait for.
    public init(_ methods: [RPCMethod], on address: RPCAddress, of process: ServiceProcess) {
        startup = process.startup
        logger = process.logger
        self.methods = StartupGate.methods(methods, of: startup) + [StartupGate.sign]
        self.address = address
    }

    public func run() async throws {
        await cancelWhenGracefulShutdown { await waitForStart() }
        guard !Task.isCancelled, !Task.isShuttingDownGracefully else { return }
        let server = RPCServer(methods)
        let bound = try await server.listen(on: address)
        logger.info("serving", metadata: ["endpoint": "\(bound)"])
        startup.served = bound
        defer { startup.served = nil }
        // Ends in an error where the process is cancelled instead: then nothing is waited for.
        let isGraceful = (try? await gracefulShutdown()) != nil
        startup.served = nil
        logger.info("ending: no new calls are taken")
        let left = await server.shutdown(gracePeriod: isGraceful ? Self.gracePeriod : .zero)
        if left > 0 { logger.warning("calls were still running at the end", metadata: ["calls": "\(left)"]) }
    }

    private func waitForStart() async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await startup.wait() }
            group.addTask { try? await Task.sleep(for: Self.patience) }
            await group.next()
            group.cancelAll()
        }
    }
}

/// Work in the background, for as long as the process serves.
public struct BackgroundService: Service {
    private let work: @Sendable () async -> Void

    /// - Parameter work: returns when its task is cancelled.
    public init(_ work: @escaping @Sendable () async -> Void) { self.work = work }

    public func run() async throws {
        await cancelWhenGracefulShutdown(work)
    }
}
