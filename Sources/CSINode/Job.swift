import Errors
import Synchronization

/// A piece of work on a volume that outlives the call that began it. Any number of calls may wait for it, each for as
/// long as it likes.
final class Job: Sendable {
    private let progress: WorkProgress
    private let state = Mutex(State.running(waiters: [:], next: 0))
    /// Set once, right after `init`; kept so that the work can be cancelled.
    private let task = Mutex<Task<Void, Never>?>(nil)

    private enum State {
        case running(waiters: [Int: CheckedContinuation<Result<Void, PerSSDError>?, Never>], next: Int)
        case ended(Result<Void, PerSSDError>)
    }

    /// - Parameters:
    ///   - progress: asked when a caller's time is up.
    ///   - ended: told the result before any waiting caller is.
    init(
        progress: WorkProgress, work: @escaping @Sendable () async throws -> Void,
        ended: @escaping @Sendable (Result<Void, PerSSDError>) async -> Void
    ) {
        self.progress = progress
        // Detached from the caller's task: a cancelled RPC does not cancel the work.
        task.withLock {
            $0 = Task.detached {
                let result: Result<Void, PerSSDError>
                do {
                    try await work()
                    result = .success(())
                } catch {
                    result = .failure(PerSSDError(wrapping: error))
                }
                await ended(result)
                self.end(result)
            }
        }
    }

    /// Asks the work to stop; it ends when it can, with an error.
    func cancel() { task.withLock { $0 }?.cancel() }

    /// How far it is, in words.
    var progressText: String { progress.text }

    /// nil while it runs.
    var result: Result<Void, PerSSDError>? {
        state.withLock { if case .ended(let result) = $0 { result } else { nil } }
    }

    /// Waits for the end of the work.
    ///
    /// - Throws: the work's error; `aborted` with the progress where `deadline` comes first; `cancelled` where the
    ///   caller's task is.
    func wait(until deadline: ContinuousClock.Instant) async throws {
        let timer = Token()
        let result = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let id = enter(continuation)
                guard let id else { return }
                timer.set(
                    id,
                    Task.detached {
                        try? await Task.sleep(until: deadline)
                        self.leave(id)
                    })
            }
        } onCancel: {
            timer.cancel()
        }
        timer.cancel()
        if let result { return try result.get() }
        try Task.checkCancellation()
        throw PerSSDError(.aborted, progress.text, remedy: "the work goes on; the next try joins it")
    }

    /// The timer of one waiting caller: whoever cancels it ends its sleep, and with it the wait.
    private final class Token: Sendable {
        private let state = Mutex<(timer: Task<Void, Never>?, cancelled: Bool)>((nil, false))

        func set(_ id: Int, _ timer: Task<Void, Never>) {
            let cancelled = state.withLock { state in
                state.timer = timer
                return state.cancelled
            }
            if cancelled { timer.cancel() }
        }

        func cancel() {
            state.withLock { state in
                state.cancelled = true
                return state.timer
            }?.cancel()
        }
    }

    /// - Returns: nil where the work had ended, and the continuation has its result.
    private func enter(_ continuation: CheckedContinuation<Result<Void, PerSSDError>?, Never>) -> Int? {
        let (id, result): (Int?, Result<Void, PerSSDError>?) = state.withLock { state in
            switch state {
            case .ended(let result): return (nil, result)
            case .running(var waiters, let next):
                waiters[next] = continuation
                state = .running(waiters: waiters, next: next + 1)
                return (next, nil)
            }
        }
        if let result { continuation.resume(returning: result) }
        return id
    }

    private func leave(_ id: Int) {
        let waiter = state.withLock { state -> CheckedContinuation<Result<Void, PerSSDError>?, Never>? in
            guard case .running(var waiters, let next) = state else { return nil }
            let waiter = waiters.removeValue(forKey: id)
            state = .running(waiters: waiters, next: next)
            return waiter
        }
        waiter?.resume(returning: nil)
    }

    private func end(_ result: Result<Void, PerSSDError>) {
        let waiters = state.withLock { state -> [CheckedContinuation<Result<Void, PerSSDError>?, Never>] in
            guard case .running(let waiters, _) = state else { return [] }
            state = .ended(result)
            return Array(waiters.values)
        }
        for waiter in waiters { waiter.resume(returning: result) }
    }
}
