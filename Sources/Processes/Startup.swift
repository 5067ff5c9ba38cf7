import CSI
import Errors
import Foundation
import Logging
import RPC
import ServiceLifecycle
import Synchronization
import Units

/// How far a process is on its way to serving: the store has to answer first, however long that takes, and then the plugin takes
/// up what an earlier process has left.
///
/// A store that is away comes back, and a process that ended meanwhile would be kept from starting for minutes by whoever watches
/// over it, on every node at once. So only what lasts ends the process.
public final class Startup: Sendable {
    private enum Phase {
        case starting
        case waiting(PerSSDError, since: Date)
        case started
    }

    private struct State {
        var phase = Phase.starting
        var waiters: [AsyncStream<Void>.Continuation] = []
        var served: RPCAddress?
    }

    /// How long the pauses between two tries are: at first, and at the most. Each try is several requests.
    static let pauses: ClosedRange<Duration> = .seconds(1) ... .seconds(10)
    /// How often the log says that the store is still away.
    static let reminder = Duration.seconds(300)

    private let state = Mutex(State())
    private let location: String
    private let logger: Logger

    /// - Parameter location: the store's, for messages.
    init(location: String, logger: Logger) { (self.location, self.logger) = (location, logger) }

    var isStarted: Bool { state.withLock { if case .started = $0.phase { true } else { false } } }

    /// - Throws: `unavailable`, with the reason, where the plugin does not work yet.
    func requireStarted() throws(PerSSDError) {
        switch state.withLock({ $0.phase }) {
        case .started: return
        case .starting: throw PerSSDError(.unavailable, "the plugin is starting")
        case .waiting(let error, let since):
            throw PerSSDError(
                .unavailable, "the plugin waits for its store since \(since.formatted(.iso8601))", cause: error)
        }
    }

    /// Returns when the plugin has started, or the task is cancelled.
    func wait() async {
        let (stream, continuation) = AsyncStream<Void>.makeStream()
        let isStarted = state.withLock { state in
            if case .started = state.phase { return true }
            state.waiters.append(continuation)
            return false
        }
        guard !isStarted else { return }
        for await _ in stream {}
    }

    /// Where the plugin's calls are answered; nil while they are not.
    var served: RPCAddress? {
        get { state.withLock { $0.served } }
        set { state.withLock { $0.served = newValue } }
    }

    /// Calls this process at its own socket. A process that cannot answer there is of no use any more, and only a new one would help;
    /// one whose store is away, is not.
    ///
    /// - Throws: `unavailable` where calls are served, and this one is not answered within a few seconds.
    func requireAnswers() async throws {
        guard let served else { return }
        let client = try RPCClient(served)
        let result: Result<[UInt8], any Error>
        do {
            result = .success(
                try await client.unary(StartupGate.sign.path, [], options: RPCCallOptions(timeout: .seconds(4))))
        } catch {
            result = .failure(error)
        }
        await client.close()
        // It may have come to its end meanwhile.
        guard self.served != nil else { return }
        do { _ = try result.get() } catch {
            throw PerSSDError(.unavailable, "the process does not answer at \(served)", cause: error)
        }
    }

    /// - Parameters:
    ///   - prove: throws `unavailable` where the store may work a little later.
    ///   - start: what is to be done with the store, before the plugin serves.
    /// - Throws: what lasts, and what `start` throws.
    func run(prove: () async throws -> Void, start: () async throws -> Void) async throws {
        try await waitForStore(prove)
        state.withLock { $0.phase = .starting }
        try await start()
        let waiters = state.withLock { state in
            state.phase = .started
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.finish() }
    }

    private func waitForStore(_ prove: () async throws -> Void) async throws {
        let begin = (date: Date(), instant: ContinuousClock.now)
        var told: ContinuousClock.Instant?
        var pause = Self.pauses.lowerBound
        while true {
            do {
                try await prove()
                break
            } catch {
                let error = PerSSDError(wrapping: error, during: "cannot use the store \(location)")
                guard error.code == .unavailable else { throw error }
                state.withLock { $0.phase = .waiting(error, since: begin.date) }
                let now = ContinuousClock.now
                if told.map({ now - $0 >= Self.reminder }) ?? true {
                    logger.warning(
                        "waiting for the store: \(error)", metadata: ["for": "\((now - begin.instant).text)"])
                    told = now
                }
            }
            // Not all nodes at once.
            try await Task.sleep(for: pause * Double.random(in: 0.5...1))
            pause = min(pause * 2, Self.pauses.upperBound)
        }
        guard told != nil else { return }
        logger.notice("the store answers, after \((ContinuousClock.now - begin.instant).text)")
    }
}

/// The startup as a part of the process: its failure is the process's, and the process's end ends it at once.
struct StartupService: Service {
    let startup: Startup
    let prove: @Sendable () async throws -> Void
    let start: @Sendable () async throws -> Void

    func run() async throws {
        try await cancelWhenGracefulShutdown {
            do {
                try await startup.run(prove: prove, start: start)
            } catch {
                // Whatever it was in the middle of when it was told to end.
                if Task.isCancelled { return }
                throw error
            }
            // The service's end would be the process's.
            while (try? await Task.sleep(for: .seconds(86400))) != nil {}
        }
    }
}

/// A service that begins when the plugin has started, and not at all where the process is told to end before.
struct StartedService: Service {
    let startup: Startup
    let service: any Service

    func run() async throws {
        await cancelWhenGracefulShutdown { await startup.wait() }
        guard startup.isStarted else { return }
        try await service.run()
    }
}
