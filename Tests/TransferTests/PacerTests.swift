import Errors
import Persistence
import Testing
import TransferTestSupport

/// How stage-outs are held back.
@Suite(.serialized) struct PacerTests {
    private func volume() -> MemoryVolume {
        var random = SeededGenerator(seed: 7)
        return MemoryVolume(random.halfCompressible(96 * TransferFixture.blockBytes))
    }

    private func timed(_ pacer: Pacer?) async throws -> (duration: Duration, sent: UInt64) {
        let fixture = try await TransferFixture()
        var options = try TransferFixture.options()
        options.pacer = pacer
        let start = ContinuousClock.now
        let result = try await fixture.stageOut(volume(), options: options)
        return (.now - start, result.statistics.sentBytes)
    }

    @Test func noMoreIsSentThanTheRateAllows() async throws {
        // On a machine that is busy everything takes longer, so only the least is known.
        let (paced, sent) = try await timed(Pacer(bytesPerSecond: 1 << 20))
        #expect(sent > 3 << 20)
        // The last pack goes at once, as each does.
        let least = Duration.seconds(Double(sent - 1 << 20) / Double(1 << 20))
        #expect(paced >= least * 0.9, "\(paced) for \(sent) bytes")
        // What was sent before counts for the next stage-out of the same volume.
        let pacer = Pacer(bytesPerSecond: 2 << 20)
        let (first, _) = try await timed(pacer)
        let (second, _) = try await timed(pacer)
        #expect(first + second >= .seconds(Double(2 * sent - 2 << 20) / Double(2 << 20)) * 0.9)
    }

    @Test func aPacerWithinAnotherKeepsToBothRates() async throws {
        let node = Pacer(bytesPerSecond: 1 << 20)
        for volume in [Pacer(within: node), Pacer(bytesPerSecond: 1 << 40, within: node)] {
            let (paced, sent) = try await timed(volume)
            let least = Duration.seconds(Double(sent - 1 << 20) / Double(1 << 20))
            #expect(paced >= least * 0.9, "\(paced) for \(sent) bytes")
        }
        // Two that send at the same time share what the outer one allows.
        let start = ContinuousClock.now
        async let first = timed(Pacer(within: node))
        async let second = timed(Pacer(within: node))
        let sent = try await first.sent + second.sent
        #expect(.now - start >= .seconds(Double(sent - 2 << 20) / Double(1 << 20)) * 0.9)
    }

    @Test func anotherRateCountsAtOnceForWhoWaits() async throws {
        let pacer = Pacer(bytesPerSecond: 1 << 10)
        async let result = timed(pacer)
        try await Task.sleep(for: .seconds(1))
        pacer.bytesPerSecond = nil
        // At the first rate it would be an hour.
        #expect(try await result.duration < .seconds(120))
    }

    @Test func whoWaitsCanBeCancelled() async throws {
        let pacer = Pacer(bytesPerSecond: 1 << 10)
        let task = Task { try await timed(pacer) }
        try await Task.sleep(for: .seconds(1))
        let start = ContinuousClock.now
        task.cancel()
        let error = await #expect(throws: PerSSDError.self) { _ = try await task.value }
        #expect(error?.code == .cancelled)
        // Else it would wait for an hour.
        #expect(ContinuousClock.now - start < .seconds(60))
    }
}
