import Errors
import Synchronization
import Testing

@testable import CSINode

@Suite struct TransferQueueTests {
    private func queue(_ ranks: [TransferRank]) -> TransferQueue {
        var queue = TransferQueue()
        for (id, rank) in ranks.enumerated() { queue.add(id, { rank }) }
        return queue
    }

    private func order(_ queue: TransferQueue) -> [Int] {
        var (queue, order) = (queue, [Int]())
        while let next = queue.next() { order.append(next) }
        return order
    }

    @Test func whatSomebodyWaitsForGoesFirstAndThenTheDirtiest() {
        let ranks = [
            TransferRank(urgency: .background, unsavedBytes: 900), TransferRank(urgency: .awaited, unsavedBytes: 1),
            TransferRank(urgency: .background, unsavedBytes: nil), TransferRank(urgency: .awaited, unsavedBytes: 70),
            .first, TransferRank(urgency: .background, unsavedBytes: 1000), .first,
            TransferRank(urgency: .awaited, unsavedBytes: 70),
        ]
        #expect(order(queue(ranks)) == [4, 6, 3, 7, 1, 2, 5, 0])
        #expect(queue([]).isEmpty && order(queue([])) == [])
    }

    @Test func whoHasGoneIsNotNext() {
        var waiting = queue([.first, .first, .first])
        let removed = [waiting.remove(1), waiting.remove(1)]
        #expect(removed == [true, false])
        #expect(order(waiting) == [0, 2])
    }

    /// However many come that are wanted more, each waits for no more than a number of them.
    @Test func nobodyStarves() {
        var queue = queue([
            TransferRank(urgency: .background, unsavedBytes: 1), TransferRank(urgency: .background, unsavedBytes: 2),
        ])
        var order: [Int] = []
        for id in 10..<40 {
            queue.add(id, { .first })
            queue.next().map { order.append($0) }
        }
        let first = order.firstIndex(of: 0)
        let second = order.firstIndex(of: 1)
        #expect(first == TransferQueue.patience)
        #expect(second == TransferQueue.patience + 1)
        // Whoever came later has not passed anybody over by coming first.
        #expect(order.filter { $0 >= 10 } == Array(10..<38))
    }

    @Test func theRankIsThatOfNow() {
        let isAwaited = Flag()
        var queue = TransferQueue()
        queue.add(0, { TransferRank(urgency: .background, unsavedBytes: 9) })
        queue.add(1, { TransferRank(urgency: isAwaited.value ? .awaited : .background, unsavedBytes: 1) })
        queue.add(2, { TransferRank(urgency: .background, unsavedBytes: 5) })
        let dirtiest = queue.next()
        isAwaited.set()
        let awaited = queue.next()
        #expect(dirtiest == 0 && awaited == 1)
    }

    private final class Flag: Sendable {
        private let state = Mutex(false)
        var value: Bool { state.withLock { $0 } }
        func set() { state.withLock { $0 = true } }
    }
}

@Suite struct PermitsTests {
    /// Begins work that ends when it is told to, and says when each began.
    private final class Works: Sendable {
        let began = Mutex<[Int]>([])
        let permits = Permits(1)

        func start(_ id: Int, _ rank: TransferRank, until end: Latch) -> Task<Void, any Error> {
            Task {
                try await permits.run({ rank }) {
                    began.withLock { $0.append(id) }
                    try await end.wait()
                }
            }
        }

        func until(_ condition: @Sendable ([Int]) -> Bool) async throws {
            while !condition(began.withLock { $0 }) { try await Task.sleep(for: .milliseconds(2)) }
        }
    }

    @Test func oneAtATimeTheMostWantedFirst() async throws {
        let (works, end) = (Works(), Latch(isOpen: false))
        let first = works.start(0, TransferRank(urgency: .background, unsavedBytes: 1), until: end)
        try await works.until { $0 == [0] }
        var tasks = [first]
        for (id, bytes) in [(1, 10), (2, 30), (3, 20)] {
            tasks.append(works.start(id, TransferRank(urgency: .background, unsavedBytes: UInt64(bytes)), until: end))
        }
        tasks.append(works.start(4, .first, until: end))
        while await works.permits.waitingCount < 4 { try await Task.sleep(for: .milliseconds(2)) }
        end.open()
        for task in tasks { try await task.value }
        #expect(works.began.withLock { $0 } == [0, 4, 2, 3, 1])
    }

    @Test func whoGivesUpTakesNobodysTurn() async throws {
        let (works, end) = (Works(), Latch(isOpen: false))
        let first = works.start(0, .first, until: end)
        try await works.until { $0 == [0] }
        let second = works.start(1, .first, until: end)
        let third = works.start(2, .first, until: end)
        while await works.permits.waitingCount < 2 { try await Task.sleep(for: .milliseconds(2)) }
        second.cancel()
        await #expect(throws: CancellationError.self) { try await second.value }
        end.open()
        try await first.value
        try await third.value
        #expect(works.began.withLock { $0 } == [0, 2])
        // The place is free again.
        try await works.permits.run {}
    }
}
