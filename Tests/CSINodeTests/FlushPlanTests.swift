import Persistence
import Testing

@testable import CSINode

@Suite struct FlushPlanTests {
    private func candidate(_ name: String, _ bytes: UInt64?, isAwaited: Bool = false, failures: Int = 0)
        -> FlushPlan.Candidate
    {
        FlushPlan.Candidate(
            id: VolumeID(name: name), isAwaited: isAwaited, unsavedBytes: bytes, failures: failures)
    }

    private func order(
        _ candidates: [(String, FlushPlan.Candidate)], left: Duration? = nil, bytesPerSecond: Double? = nil
    ) -> [String] {
        var (rest, order) = (candidates, [String]())
        while let next = FlushPlan.next(of: rest.map(\.1), left: left, bytesPerSecond: bytesPerSecond),
            let index = rest.firstIndex(where: { $0.1 == next })
        { order.append(rest.remove(at: index).0) }
        return order
    }

    @Test func theDirtiestGoesFirstAndBeforeItWhatAnotherWaitsFor() {
        let candidates = [
            ("little", candidate("a", 1)), ("much", candidate("b", 100)), ("unknown", candidate("c", nil)),
            ("awaited", candidate("d", 2, isAwaited: true)), ("more", candidate("e", 50)),
        ]
        #expect(order(candidates) == ["awaited", "unknown", "much", "more", "little"])
    }

    @Test func whatCannotMakeItIsBegunLastTheSmallestFirst() {
        let candidates = [
            ("hopeless", candidate("a", 5000)), ("small", candidate("b", 10)), ("too large", candidate("c", 1001)),
            ("fits", candidate("d", 1000)), ("awaited and too large", candidate("e", 2000, isAwaited: true)),
        ]
        let all = order(candidates, left: .seconds(10), bytesPerSecond: 100)
        #expect(all == ["fits", "small", "awaited and too large", "too large", "hopeless"])
        // Without a deadline, or where nothing is known of the speed, all is hoped to make it.
        let dirtiest = ["awaited and too large", "hopeless", "too large", "fits", "small"]
        #expect(order(candidates, bytesPerSecond: 100) == dirtiest)
        #expect(order(candidates, left: .seconds(10)) == dirtiest)
    }

    /// The time that is left at each choice counts, so that the last seconds go to what still fits.
    @Test func theLastSecondsGoToWhatStillFits() {
        var rest = [candidate("a", 400), candidate("b", 300), candidate("c", 100)]
        var left = 6.0
        var done: [UInt64] = []
        while let next = FlushPlan.next(of: rest, left: .seconds(left), bytesPerSecond: 100) {
            rest.removeAll { $0 == next }
            left -= Double(next.unsavedBytes ?? 0) / 100
            guard left >= 0 else { break }
            done.append(next.unsavedBytes ?? 0)
        }
        #expect(done == [400, 100])
    }

    @Test func whatFailedIsTriedAgainAfterTheOthers() {
        let candidates = [
            ("failed twice", candidate("a", 1000, failures: 2)), ("failed", candidate("b", 900, failures: 1)),
            ("new", candidate("c", 1)),
        ]
        #expect(order(candidates) == ["new", "failed", "failed twice"])
        #expect(candidate("a", 1).failedOnceMore.failures == 1)
    }

    @Test func theSpeedIsThatOfTheLastTransfers() {
        let speed = TransferSpeed()
        #expect(speed.bytesPerSecond == nil)
        // Too little to tell.
        speed.note(1000, in: .seconds(1))
        #expect(speed.bytesPerSecond == nil)
        speed.note(100 << 20, in: .seconds(10))
        #expect(speed.bytesPerSecond == Double(10 << 20))
        for _ in 0..<20 { speed.note(10 << 20, in: .seconds(10)) }
        let now = speed.bytesPerSecond ?? 0
        #expect(now > Double(1 << 20) && now < Double(1 << 20) * 1.01)
    }
}
