import Digests
import Errors
import Foundation
import Testing
import TransferTestSupport

@testable import Persistence

/// The parts of transfers that do no input or output of their own.
@Suite struct TransferPartsTests {
    @Test func memoryIsSharedOutWithinItsBound() {
        for level in [nil, 1, 3, 6, 9, 19] {
            for log2 in 16...22 {
                let block = 1 << log2
                let workers = TransferMemory.workers(1000, blockBytes: block, level: level)
                #expect(workers >= 1)
                #expect(workers * (max(block, 1 << 20) + 2 * block) <= TransferMemory.forWorkers)
            }
        }
        #expect(TransferMemory.workers(4, blockBytes: 1 << 18, level: 1) == 4)
        #expect(TransferMemory.workers(16, blockBytes: 1 << 18, level: 1) == 16)
        #expect(TransferMemory.workers(16, blockBytes: 1 << 22, level: 19) == 1)
        #expect(TransferMemory.packs(4, packBytes: 32 << 20) == 4)
        #expect(TransferMemory.packs(100, packBytes: 32 << 20) == 4)
        #expect(TransferMemory.packs(4, packBytes: 64 << 20) == 2)
    }

    @Test func theLimiterLetsThroughAsManyAsItSays() async throws {
        let limiter = AsyncLimiter(3)
        let running = Running()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<50 {
                group.addTask {
                    try await limiter.run {
                        await running.begin()
                        try await Task.sleep(for: .milliseconds(1))
                        await running.end()
                    }
                }
            }
            try await group.waitForAll()
        }
        #expect(await running.most == 3)
        #expect(await running.all == 50)
    }

    private actor Running {
        private var now = 0
        private(set) var most = 0
        private(set) var all = 0

        func begin() {
            now += 1
            most = max(most, now)
            all += 1
        }

        func end() { now -= 1 }
    }

    @Test func whoWaitsAtTheLimiterCanBeCancelledAndTheOthersGoOn() async throws {
        let limiter = AsyncLimiter(1)
        let gate = AsyncStream<Void>.makeStream()
        let holder = Task { try await limiter.run { for await _ in gate.stream { break } } }
        // Whether the waiters come to wait before or after their cancellation, the outcome is the same.
        let waiters = (0..<20).map { _ in Task { try await limiter.run {} } }
        for waiter in waiters.prefix(10) { waiter.cancel() }
        var cancelled = 0
        for waiter in waiters.prefix(10) {
            do { try await waiter.value } catch { cancelled += error is CancellationError ? 1 : 0 }
        }
        gate.continuation.yield()
        try await holder.value
        for waiter in waiters.dropFirst(10) { try await waiter.value }
        #expect(cancelled >= 9)
        try await limiter.run {}
    }

    @Test func workThatIsCancelledWhileItWaitsForAThreadIsNotDone() async throws {
        let benches = WorkBenches(count: 1, plainBytes: 4096, scratchBytes: 4096)
        let began = AsyncStream<Void>.makeStream()
        let release = Flag()
        let first = Task {
            try await benches.run { _ in
                began.continuation.yield()
                while !release.isSet { usleep(1000) }
            }
        }
        for await _ in began.stream { break }
        let wasDone = Flag()
        let second = Task { try await benches.run { _ in wasDone.set() } }
        second.cancel()
        release.set()
        try await first.value
        await #expect(throws: CancellationError.self) { try await second.value }
        #expect(!wasDone.isSet)
    }

    @Test func aBenchIsUsedByOneThreadAtATimeAndThenAgain() async throws {
        let benches = WorkBenches(count: 4, plainBytes: 4096, scratchBytes: 4096)
        let seen = try await withThrowingTaskGroup(of: ObjectIdentifier.self) { group in
            for number in 0..<200 {
                group.addTask {
                    try await benches.run { bench in
                        let words = bench.plain.bytes.bindMemory(to: Int.self)
                        words[0] = number
                        usleep(200)
                        guard words[0] == number else { throw PerSSDError(.internal, "the bench is shared") }
                        return ObjectIdentifier(bench)
                    }
                }
            }
            return try await group.reduce(into: Set()) { $0.insert($1) }
        }
        #expect((1...4).contains(seen.count))
    }

    private func block(_ number: UInt64, pack: UInt8, at offset: UInt32, stored: UInt32 = 100_000) -> FetchBatch.Block {
        let piece = Piece(
            pack: PackID([UInt8](repeating: pack, count: 16))!, offset: offset, storedLength: stored,
            plainLength: 1 << 18, compression: .zstd, digest: .zero)
        return .init(number: number, entry: BlockEntry(digest: .zero, base: piece))
    }

    @Test func neighboursInAPackAreReadAtOnce() {
        let blocks = (0..<30).map { block(UInt64($0), pack: 1, at: 64 + UInt32($0) * 100_000) }
        let batches = FetchPlan.batches(blocks.shuffled())
        #expect(batches.count == 1)
        #expect(batches[0].ranges.map(\.range) == [64..<3_000_064])
        #expect(batches[0].extent == 0..<30)
    }

    @Test func readsAreNotLongerThanTheirLimit() {
        let blocks = (0..<300).map { block(UInt64($0), pack: 1, at: 64 + UInt32($0) * 100_000) }
        let batches = FetchPlan.batches(blocks)
        #expect(batches.count == 8)
        #expect(batches.flatMap(\.ranges).allSatisfy { UInt64($0.range.count) <= FetchPlan.maximumRead })
        #expect(Set(batches.flatMap { $0.blocks.map(\.number) }) == Set(0..<300))
    }

    @Test func smallGapsAreReadAlongAndLargeOnesAreNot() {
        let near = FetchPlan.batches([block(0, pack: 1, at: 64), block(1, pack: 1, at: 200_000)])
        #expect(near.map(\.ranges.count) == [1])
        let far = FetchPlan.batches([block(0, pack: 1, at: 64), block(1, pack: 1, at: 400_000)])
        #expect(far.map(\.ranges.count) == [2])
        let apart = FetchPlan.batches([block(0, pack: 1, at: 64), block(1, pack: 2, at: 64)])
        #expect(apart.flatMap(\.ranges).count == 2)
    }

    @Test func everyPieceOfAPatchedBlockIsFetchedWithIt() {
        var patched = block(7, pack: 1, at: 64)
        patched.entry.patches = [
            block(0, pack: 2, at: 64).entry.base, block(0, pack: 3, at: 64, stored: 10).entry.base,
        ]
        let batches = FetchPlan.batches([block(1, pack: 1, at: 500_000), patched])
        #expect(batches.count == 2)
        #expect(batches[1].ranges.count == 3)
        #expect(batches[1].extent == 7..<8)
    }

    @Test func aPieceLongerThanTheLimitIsReadAlone() {
        let batches = FetchPlan.batches([
            block(0, pack: 1, at: 64, stored: 6 << 20), block(1, pack: 1, at: 64 + (6 << 20)),
        ])
        #expect(batches.count == 2)
        #expect(batches[0].ranges.map(\.range.count) == [6 << 20])
    }
}
