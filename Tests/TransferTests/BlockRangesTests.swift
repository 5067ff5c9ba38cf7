import Testing

@testable import Persistence

@Suite struct BlockRangesTests {
    @Test func partsAreSortedAndJoined() {
        #expect(BlockRanges([5..<7, 0..<2, 7..<9, 1..<3, 4..<4]).ranges == [0..<3, 5..<9])
        #expect(BlockRanges([0..<10, 2..<3]).ranges == [0..<10])
        #expect(BlockRanges([]).isEmpty)
        #expect(BlockRanges([5..<7, 0..<2]).count == 4)
    }

    @Test func touchingAndCutting() {
        let ranges = BlockRanges([2..<4, 8..<10])
        #expect(!ranges.touches(0..<2) && !ranges.touches(4..<8) && !ranges.touches(10..<20))
        #expect(ranges.touches(0..<3) && ranges.touches(3..<5) && ranges.touches(9..<10))
        #expect(ranges.within(3..<9) == [3..<4, 8..<9])
        #expect(ranges.within(4..<8).isEmpty)
        #expect(ranges.within(0..<100) == ranges.ranges)
    }

    @Test func zerosAreToldFromAllElse() {
        for count in [0, 1, 15, 16, 17, 64, 4096, 65536] {
            var bytes = [UInt8](repeating: 0, count: count)
            #expect(bytes.withUnsafeBytes { isZero($0) })
            for position in Set([0, 1, 14, 15, 16, 17, 31, 32, count / 2, count - 1])
            where bytes.indices.contains(position) {
                bytes[position] = 128
                #expect(!bytes.withUnsafeBytes { isZero($0) }, "\(count) at \(position)")
                bytes[position] = 0
            }
        }
    }
}
