/// Lets a number of pieces of work in at a time: of those that wait the one that is wanted most, and among equals first come
/// first served.
actor Permits {
    private var free: Int
    private var queue = TransferQueue()
    private var waiting: [Int: CheckedContinuation<Void, any Error>] = [:]
    private var nextID = 0

    init(_ count: Int) { free = count }

    /// How many wait for their turns.
    var waitingCount: Int { waiting.count }

    /// Runs `work` once there is room for it.
    ///
    /// - Parameter rank: how much it is wanted, asked whenever somebody is let in.
    /// - Throws: `CancellationError` where the task is cancelled while it waits.
    nonisolated func run<Value: Sendable>(
        _ rank: @escaping @Sendable () -> TransferRank = { .first }, _ work: @Sendable () async throws -> Value
    ) async throws -> Value {
        try await enter(rank)
        do {
            let value = try await work()
            await leave()
            return value
        } catch {
            await leave()
            throw error
        }
    }

    private func enter(_ rank: @escaping @Sendable () -> TransferRank) async throws {
        try Task.checkCancellation()
        if free > 0 {
            free -= 1
            return
        }
        let id = nextID
        nextID += 1
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                waiting[id] = continuation
                queue.add(id, rank)
            }
        } onCancel: {
            Task { await self.giveUp(id) }
        }
    }

    private func giveUp(_ id: Int) {
        queue.remove(id)
        waiting.removeValue(forKey: id)?.resume(throwing: CancellationError())
    }

    private func leave() {
        if let next = queue.next() {
            waiting.removeValue(forKey: next)?.resume()
        } else {
            free += 1
        }
    }
}
