import Errors
import Foundation

/// Which generations of a volume's history are kept, of those that nothing else pins.
///
/// It counts hours, days and weeks in which there is a generation, and not those that have passed: a volume that nobody
/// uses loses nothing as time goes by, and neither does one whose clock was wrong. The newest generation is always kept.
public struct RetentionPolicy: Sendable, Hashable {
    /// So many of the newest.
    public var last: Int
    /// The newest of each hour, day and week (from Monday, all in UTC), for so many of the newest of these.
    public var hourly: Int
    public var daily: Int
    public var weekly: Int

    /// Enough to find what went wrong this morning, last week, or last month, and never more than 56 generations.
    public static let standard = RetentionPolicy(last: 10, hourly: 24, daily: 14, weekly: 8)
    /// Everything, for ever.
    public static let all = RetentionPolicy(last: .max, hourly: 0, daily: 0, weekly: 0)

    private static let largest = 10_000
    private static let keys: [(name: String, field: WritableKeyPath<RetentionPolicy, Int> & Sendable)] = [
        ("last", \.last), ("hourly", \.hourly), ("daily", \.daily), ("weekly", \.weekly),
    ]

    public init(last: Int, hourly: Int = 0, daily: Int = 0, weekly: Int = 0) {
        (self.last, self.hourly, self.daily, self.weekly) = (last, hourly, daily, weekly)
    }

    /// - Parameter text: "all", or some of "last=10,hourly=24,daily=14,weekly=8"; what is not named is 0.
    /// - Returns: nil where the text is anything else.
    public init?(parsing text: String) {
        if text == "all" {
            self = .all
            return
        }
        self.init(last: 0)
        var seen: Set<String> = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let sides = part.split(separator: "=", omittingEmptySubsequences: false)
            guard sides.count == 2, let key = Self.keys.first(where: { $0.name == sides[0] }),
                sides[1].utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
                let count = Int(sides[1]), count <= Self.largest, seen.insert(key.name).inserted
            else { return nil }
            self[keyPath: key.field] = count
        }
    }

    /// Which of some generations are kept, by their numbers.
    ///
    /// - Parameter generations: numbers, and the times of their contents, in any order.
    public func kept(_ generations: [(number: UInt64, time: Date)]) -> Set<UInt64> {
        let newestFirst = generations.sorted { $0.number > $1.number }
        guard self != .all else { return Set(newestFirst.map(\.number)) }
        var kept = Set(newestFirst.prefix(max(1, last)).map(\.number))
        let hour = 3600.0
        // 1970 began on a Thursday.
        for (count, length, shift) in [
            (hourly, hour, 0.0), (daily, 24 * hour, 0), (weekly, 7 * 24 * hour, 3 * 24 * hour),
        ] {
            var periods: Set<Double> = []
            for generation in newestFirst where periods.count < count {
                let period = ((generation.time.timeIntervalSince1970 + shift) / length).rounded(.down)
                if periods.insert(period).inserted { kept.insert(generation.number) }
            }
        }
        return kept
    }
}

extension RetentionPolicy: Codable, CustomStringConvertible {
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        guard let policy = RetentionPolicy(parsing: try container.decode(String.self)) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "no retention policy")
        }
        self = policy
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }

    /// As it is parsed.
    public var description: String {
        guard self != .all else { return "all" }
        return Self.keys.filter { $0.name == "last" || self[keyPath: $0.field] > 0 }
            .map { "\($0.name)=\(self[keyPath: $0.field])" }.joined(separator: ",")
    }
}
