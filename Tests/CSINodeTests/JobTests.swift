import Errors
import Synchronization
import Testing

@testable import CSINode

/// Opens once; whoever waits goes on then.
private final class Gate: Sendable {
    private let stream: AsyncStream<Void>
    private let continuation: AsyncStream<Void>.Continuation

    init() { (stream, continuation) = AsyncStream.makeStream() }
    func open() { continuation.finish() }
    func wait() async { for await _ in stream {} }
}

@Suite struct JobTests {
    @Test func aCallerWhoseTimeIsUpIsToldTheProgressAndTheWorkGoesOn() async throws {
        let gate = Gate()
        let ended = Mutex(false)
        let job = Job(progress: WorkProgress("staging out")) {
            await gate.wait()
        } ended: { _ in
            ended.withLock { $0 = true }
        }
        let error = await #expect(throws: PerSSDError.self) {
            try await job.wait(until: .now + .milliseconds(20))
        }
        #expect(error?.code == .aborted)
        #expect(error?.message == "staging out")
        #expect(job.result == nil)
        gate.open()
        try await job.wait(until: .now + .seconds(10))
        #expect(ended.withLock { $0 })
    }

    @Test func allWhoWaitGetTheSameResult() async {
        let gate = Gate()
        let job = Job(progress: WorkProgress("restoring")) {
            await gate.wait()
            throw PerSSDError(.corrupt, "pack 7 is truncated")
        } ended: { _ in
        }
        await withTaskGroup(of: PerSSDError.Code?.self) { group in
            for _ in 0..<50 {
                group.addTask {
                    do {
                        try await job.wait(until: .now + .seconds(10))
                        return nil
                    } catch {
                        return (error as? PerSSDError)?.code
                    }
                }
            }
            gate.open()
            for await code in group { #expect(code == .corrupt) }
        }
    }

    @Test func aCancelledCallerLeavesAtOnceAndTheWorkIsNotCancelled() async throws {
        let gate = Gate()
        let job = Job(progress: WorkProgress("restoring")) {
            await gate.wait()
            try Task.checkCancellation()
        } ended: { _ in
        }
        let caller = Task { try await job.wait(until: .now + .seconds(60)) }
        caller.cancel()
        let start = ContinuousClock.now
        await #expect(throws: (any Error).self) { try await caller.value }
        #expect(ContinuousClock.now - start < .seconds(50))
        gate.open()
        try await job.wait(until: .now + .seconds(10))
    }

    @Test func cancellingTheJobReachesTheWork() async {
        let job = Job(progress: WorkProgress("restoring")) {
            try await Task.sleep(for: .seconds(60))
        } ended: { _ in
        }
        job.cancel()
        let error = await #expect(throws: PerSSDError.self) { try await job.wait(until: .now + .seconds(10)) }
        #expect(error?.code == .cancelled)
    }
}
