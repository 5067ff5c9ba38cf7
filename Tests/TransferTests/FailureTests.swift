import Errors
import Foundation
import Persistence
import Synchronization
import Testing
import TransferTestSupport

/// Stores, devices and callers that fail in the middle: an error, no result, nothing left running, and a retry that works.
@Suite struct FailureTests {
    private let block = TransferFixture.blockBytes

    private func noise(_ blocks: Int, seed: UInt64 = 6) -> [UInt8] {
        var random = SeededGenerator(seed: seed)
        return random.noise(blocks * block)
    }

    @Test(arguments: [FaultyStore.Fault.before, .after]) func aFailedUploadFailsTheStageOut(
        _ fault: FaultyStore.Fault
    ) async throws {
        let fixture = try await TransferFixture()
        let bytes = noise(100)
        for number in 0..<7 {
            fixture.store.resetCalls()
            fixture.store.failWrite(number, fault)
            let error = try await failure { try await fixture.stageOut(MemoryVolume(bytes)) }
            #expect(error.code == .unavailable)
            #expect(fixture.store.running == 0)
            fixture.store.heal()
        }
        let result = try await fixture.stageOut(MemoryVolume(bytes))
        expectEqual(try await fixture.restored(result.root), bytes)
    }

    @Test func aFailedReadOfTheParentFailsTheStageOut() async throws {
        let fixture = try await TransferFixture()
        var bytes = noise(64)
        let first = try await fixture.stageOut(MemoryVolume(bytes))
        bytes[0] ^= 1
        for number in 0..<21 {
            fixture.store.resetCalls()
            fixture.store.failRead(number, .before)
            let error = try await failure {
                try await fixture.stageOut(MemoryVolume(bytes), parent: first.root)
            }
            #expect(error.code == .unavailable)
            #expect(fixture.store.running == 0)
            fixture.store.heal()
        }
        let second = try await fixture.stageOut(MemoryVolume(bytes), parent: first.root)
        expectEqual(try await fixture.restored(second.root), bytes)
    }

    @Test func aFailedReadFailsTheRestore() async throws {
        let fixture = try await TransferFixture()
        let bytes = noise(64)
        let result = try await fixture.stageOut(MemoryVolume(bytes))
        fixture.store.resetCalls()
        _ = try await fixture.restored(result.root)
        for number in 0..<fixture.store.calls.reads {
            fixture.store.resetCalls()
            fixture.store.failRead(number, .before)
            let sink = MemoryVolume([UInt8](repeating: 0, count: bytes.count))
            let error = try await failure { try await fixture.restore(result.root, to: sink) }
            #expect(error.code == .unavailable)
            #expect(fixture.store.running == 0)
            #expect(!sink.isFlushed)
            fixture.store.heal()
            // What the sink holds now is anything.
            try await fixture.restore(result.root, to: sink, have: .unknown)
            expectEqual(sink.bytes, bytes)
        }
        fixture.store.resetCalls()
        fixture.store.failRead(5, .before)
        let error = try await failure { _ = try await fixture.verify(result.root) }
        #expect(error.code == .unavailable)
    }

    @Test func aFailingDeviceFailsTheTransfer() async throws {
        let fixture = try await TransferFixture()
        let broken = PerSSDError(.unavailable, "the drive is gone")
        let source = MemoryVolume(noise(64))
        let root = try await fixture.stageOut(source).root
        source.fail(with: broken)
        let read = try await failure { try await fixture.stageOut(source) }
        #expect(read.message == broken.message)
        let sink = MemoryVolume([UInt8](repeating: 0, count: 64 * block))
        sink.fail(with: broken)
        let written = try await failure { try await fixture.restore(root, to: sink) }
        #expect(written.message == broken.message)
        #expect(fixture.store.running == 0)
    }

    @Test func aCancelledStageOutStopsAtOnce() async throws {
        let fixture = try await TransferFixture()
        for number in 0..<6 { fixture.store.failWrite(number, .stuck) }
        // More than all pack buffers hold: workers wait for memory when the cancellation comes.
        let bytes = noise(160)
        let task = Task { try await fixture.stageOut(MemoryVolume(bytes)) }
        while fixture.store.running < 3 { try await Task.sleep(for: .milliseconds(5)) }
        let start = ContinuousClock.now
        task.cancel()
        let error = try await failure { _ = try await task.value }
        #expect(error.code == .cancelled)
        // What is stuck stays so for an hour.
        #expect(ContinuousClock.now - start < .seconds(60))
        #expect(fixture.store.running == 0)
    }

    @Test func aCancelledRestoreStopsAtOnce() async throws {
        let fixture = try await TransferFixture()
        let result = try await fixture.stageOut(MemoryVolume(noise(100)))
        fixture.store.resetCalls()
        for number in 12..<100 { fixture.store.failRead(number, .stuck) }
        let sink = MemoryVolume([UInt8](repeating: 0, count: 100 * block))
        let task = Task { try await fixture.restore(result.root, to: sink) }
        while fixture.store.calls.reads < 13 { try await Task.sleep(for: .milliseconds(5)) }
        let start = ContinuousClock.now
        task.cancel()
        let error = try await failure { _ = try await task.value }
        #expect(error.code == .cancelled)
        // What is stuck stays so for an hour.
        #expect(ContinuousClock.now - start < .seconds(60))
        #expect(fixture.store.running == 0)
        #expect(!sink.isFlushed)
    }

    @Test func aCancelledVerificationStopsAtOnce() async throws {
        let fixture = try await TransferFixture()
        let result = try await fixture.stageOut(MemoryVolume(noise(100)))
        fixture.store.resetCalls()
        for number in 12..<100 { fixture.store.failRead(number, .stuck) }
        let task = Task { try await fixture.verify(result.root) }
        while fixture.store.calls.reads < 13 { try await Task.sleep(for: .milliseconds(5)) }
        task.cancel()
        let error = try await failure { _ = try await task.value }
        #expect(error.code == .cancelled)
        #expect(fixture.store.running == 0)
    }

    @Test func aTransferThatIsCancelledBeforeItBeginsDoesNothing() async throws {
        let fixture = try await TransferFixture()
        let bytes = noise(64)
        let task = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return try await fixture.stageOut(MemoryVolume(bytes))
        }
        let error = try await failure { _ = try await task.value }
        #expect(error.code == .cancelled)
        #expect(try await fixture.packs().isEmpty)
    }
}
