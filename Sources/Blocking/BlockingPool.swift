import Foundation

/// Threads of its own for calls that block (system calls, C libraries), so that none runs on Swift's cooperative
/// threads, of which there are only as many as cores: a blocked one holds up every task of the process.
public final class BlockingPool: Sendable {
    /// For short file and device calls.
    public static let shared = BlockingPool(label: "blocking", maximumThreads: 32)

    private let threads: Threads

    /// - Parameter maximumThreads: further work waits in a queue, first come first served.
    public init(label: String, maximumThreads: Int) {
        precondition(maximumThreads > 0)
        threads = Threads(label: label, maximum: maximumThreads)
    }

    deinit { threads.close() }

    /// Runs `body` on one of the pool's threads and waits for it without holding the caller's thread.
    ///
    /// Cancellation of the task does not stop a body that runs: a system call that has begun has to be seen to its end.
    public func run<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            threads.add { continuation.resume(with: Result { try body() }) }
        }
    }
}

/// The queue and its threads. A thread keeps only this object alive, so a pool that is let go can close it.
private final class Threads: @unchecked Sendable {
    private let label: String
    private let maximum: Int
    /// Guards what follows.
    private let condition = NSCondition()
    /// Taken work leaves nil behind: what it holds on to may be large, and goes with it.
    private var waiting: [(@Sendable () -> Void)?] = []
    private var firstWaiting = 0
    private var idle = 0
    private var count = 0
    private var closed = false

    init(label: String, maximum: Int) {
        self.label = label
        self.maximum = maximum
    }

    func add(_ work: @escaping @Sendable () -> Void) {
        condition.lock()
        defer { condition.unlock() }
        waiting.append(work)
        if idle >= waiting.count - firstWaiting || count == maximum {
            condition.signal()
        } else {
            count += 1
            NamedThread.start(label) { self.serve() }
        }
    }

    func close() {
        condition.lock()
        closed = true
        condition.broadcast()
        condition.unlock()
    }

    private func serve() {
        while let work = next() { work() }
    }

    private func next() -> (@Sendable () -> Void)? {
        condition.lock()
        defer { condition.unlock() }
        idle += 1
        while firstWaiting == waiting.count {
            if closed {
                idle -= 1
                return nil
            }
            condition.wait()
        }
        idle -= 1
        let work = waiting[firstWaiting]
        waiting[firstWaiting] = nil
        firstWaiting += 1
        // The places of taken work go in strides, so that taking the first of many stays cheap.
        if firstWaiting == waiting.count || firstWaiting >= 1024 {
            waiting.removeFirst(firstWaiting)
            firstWaiting = 0
        }
        return work
    }
}
