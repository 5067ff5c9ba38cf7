import Errors
import Logging
import RPC
import ServiceLifecycle

/// An RPC server as a part of a process: it serves until the process is told to end.
public struct RPCService: Service {
    /// How long calls that run may go on once the process is told to end. Kubernetes kills a pod after 30 s.
    public static let gracePeriod = Duration.seconds(20)

    private let methods: [RPCMethod]
    private let address: RPCAddress
    private let logger: Logger

    public init(_ methods: [RPCMethod], on address: RPCAddress, logger: Logger) {
        (self.methods, self.address, self.logger) = (methods, address, logger)
    }

    public func run() async throws {
        let server = RPCServer(methods)
        let bound = try await server.listen(on: address)
        logger.info("serving", metadata: ["endpoint": "\(bound)"])
        // Ends in an error where the process is cancelled instead: then nothing is waited for.
        let isGraceful = (try? await gracefulShutdown()) != nil
        logger.info("ending: no new calls are taken")
        let left = await server.shutdown(gracePeriod: isGraceful ? Self.gracePeriod : .zero)
        if left > 0 { logger.warning("calls were still running at the end", metadata: ["calls": "\(left)"]) }
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
