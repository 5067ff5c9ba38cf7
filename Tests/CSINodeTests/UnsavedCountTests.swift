import Testing

@testable import CSINode

/// What is told of a volume's unsaved bytes, and what is not.
@Suite struct UnsavedCountTests {
    private var count = UnsavedCount(isAttached: false)

    @Test mutating func whatIsWrittenCountsFromTheOpeningAndFromEachCut() {
        count.opened(at: 100, isAhead: false)
        #expect(count.bytes(at: 100) == 0 && count.bytes(at: 110) == 5120)
        let mark = count.mark(at: 120)
        // What is written while the cut is staged out is not in it.
        #expect(count.bytes(at: 125) == 25 * 512)
        count.committed(mark, wasAttached: true)
        #expect(count.bytes(at: 125) == 5 * 512)
    }

    @Test mutating func whatAPodLeftBehindStaysUnsavedUntilItIsCommitted() {
        count.opened(at: 100, isAhead: false)
        count.closed(at: 110)
        #expect(count.bytes(at: nil) == 10 * 512)
        // Published again before: on another device, which counts by itself.
        let mark = count.mark(at: nil)
        count.opened(at: 5000, isAhead: true)
        #expect(count.bytes(at: 5003) == 13 * 512)
        count.committed(mark, wasAttached: false)
        #expect(count.bytes(at: 5003) == 3 * 512)
    }

    @Test mutating func aCutOfADeviceThatHasGoneTellsNothing() {
        count.opened(at: 100, isAhead: false)
        let mark = count.mark(at: 110)
        count.closed(at: 120)
        count.committed(mark, wasAttached: true)
        #expect(count.bytes(at: nil) == nil)
        count.opened(at: 110, isAhead: true)
        #expect(count.bytes(at: 115) == nil)
        count.committed(count.mark(at: 115), wasAttached: true)
        #expect(count.bytes(at: 116) == 512)
        count.closed(at: 116)
        count.committed(nil, wasAttached: false)
        #expect(count.bytes(at: nil) == 0)
    }

    @Test func aVolumeThatWasFoundOpenIsKnownFromItsNextCutOn() {
        var count = UnsavedCount(isAttached: true)
        #expect(count.bytes(at: 100) == nil)
        count.committed(count.mark(at: 100), wasAttached: true)
        #expect(count.bytes(at: 101) == 512)
    }

    @Test mutating func aDeviceThatDoesNotSayIsNotGuessed() {
        count.opened(at: nil, isAhead: false)
        #expect(count.bytes(at: 100) == nil)
        count.committed(count.mark(at: nil), wasAttached: true)
        #expect(count.bytes(at: 100) == nil)
        count.closed(at: nil)
        #expect(count.bytes(at: nil) == nil)
        count.opened(at: 100, isAhead: false)
        // A counter that has gone back is another one.
        #expect(count.bytes(at: 99) == nil)
        count.opened(at: 100, isAhead: false)
        #expect(count.bytes(at: nil) == nil)
    }
}
