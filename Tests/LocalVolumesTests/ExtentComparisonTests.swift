import LinuxSystem
import Testing

@testable import LocalVolumes

@Suite struct ExtentComparisonTests {
    @Test func sharedPiecesAreTheSameAndAllElseIsNot() throws {
        let base = [extent(0, 100, at: 1000), extent(200, 300, at: 5000)]
        let cut = [
            extent(0, 40, at: 1000), extent(40, 60, at: 9000), extent(60, 100, at: 1060), extent(250, 300, at: 5050),
        ]
        #expect(try compare(400, base, cut) == [40..<60, 200..<250])
        #expect(try compare(400, base, base) == [])
        #expect(try compare(400, [], cut) == [0..<100, 250..<300])
        #expect(try compare(400, cut, []) == [0..<100, 250..<300])
        #expect(try compare(50, base, []) == [0..<50])
    }

    @Test func whatWasNeverWrittenIsLikeAHole() throws {
        #expect(try compare(100, [extent(0, 50, at: 10, isUnwritten: true)], []) == [])
        #expect(
            try compare(100, [extent(0, 50, at: 10, isUnwritten: true)], [extent(0, 50, at: 10)]) == [0..<50])
    }

    @Test func nothingIsSaidWhereAnAddressMeansNothing() throws {
        #expect(try compare(100, [extent(0, 50, at: 10)], [extent(0, 50, at: 10, isPlain: false)]) == nil)
        #expect(try compare(100, [extent(60, 90, at: 10, isPlain: false)], []) == nil)
    }

    private func extent(
        _ start: UInt64, _ end: UInt64, at physical: UInt64, isUnwritten: Bool = false, isPlain: Bool = true
    ) -> FileExtent {
        FileExtent(logical: start..<end, physical: physical, isUnwritten: isUnwritten, isPlain: isPlain)
    }

    private func compare(_ size: UInt64, _ base: [FileExtent], _ cut: [FileExtent]) throws -> [Range<UInt64>]? {
        var base = base.makeIterator()
        var cut = cut.makeIterator()
        return try ExtentComparison.changes(size: size, from: { base.next() }, to: { cut.next() })
    }
}
