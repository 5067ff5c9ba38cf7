/// A set of blocks, as ranges ascending and apart.
struct BlockRanges: Sendable, Equatable {
    private(set) var ranges: [Range<UInt64>]

    /// - Parameter parts: in any order; they may overlap, and be empty.
    init(_ parts: some Sequence<Range<UInt64>>) {
        ranges = []
        for part in parts.filter({ !$0.isEmpty }).sorted(by: { $0.lowerBound < $1.lowerBound }) {
            if let last = ranges.last, part.lowerBound <= last.upperBound {
                ranges[ranges.count - 1] = last.lowerBound..<max(last.upperBound, part.upperBound)
            } else {
                ranges.append(part)
            }
        }
    }

    var isEmpty: Bool { ranges.isEmpty }
    var count: UInt64 { ranges.reduce(0) { $0 + UInt64($1.count) } }

    func touches(_ range: Range<UInt64>) -> Bool {
        let first = index(endingAfter: range.lowerBound)
        return first < ranges.count && ranges[first].lowerBound < range.upperBound
    }

    func within(_ range: Range<UInt64>) -> [Range<UInt64>] {
        ranges[index(endingAfter: range.lowerBound)...]
            .prefix { $0.lowerBound < range.upperBound }
            .map { $0.clamped(to: range) }
    }

    private func index(endingAfter block: UInt64) -> Int {
        var low = 0
        var high = ranges.count
        while low < high {
            let middle = (low + high) / 2
            if ranges[middle].upperBound <= block { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
