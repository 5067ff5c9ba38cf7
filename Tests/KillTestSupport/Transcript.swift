/// What a process has said until it was killed: "try VOLUME STATE" before each of its steps, "ok VOLUME STATE" after it. A state
/// is one word, or "absent".
public struct Transcript: Sendable {
    /// The whole ones; the kill may have cut off the last.
    public let lines: [String]

    public static let absent = "absent"

    public init(_ output: some Sequence<UInt8>) {
        lines = String(decoding: Array(output), as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
            .dropLast().map(String.init)
    }

    /// How many steps were done.
    public var steps: Int { lines.count { $0.hasPrefix("ok ") } }

    /// Of each volume, the states that it may be in after the kill: what was said to be done has to be there, and of a step
    /// that was begun last, all or nothing.
    ///
    /// - Parameter known: the states at the start; a volume that is not in it was absent.
    public func possible(from known: [String: String] = [:]) -> [String: [String]] {
        var certain = known
        var possible = known.mapValues { [$0] }
        for line in lines {
            let words = line.split(separator: " ").map(String.init)
            guard words.count == 3, ["try", "ok"].contains(words[0]) else { continue }
            if words[0] == "try" {
                possible[words[1]] = [certain[words[1]] ?? Self.absent, words[2]]
            } else {
                certain[words[1]] = words[2]
                possible[words[1]] = [words[2]]
            }
        }
        return possible
    }
}
