import Persistence

/// In which order a flush brings a node's volumes to the bucket: pure.
///
/// Those that another waits for first, then the dirtiest, as they would cost most. Against the clock, what can't make it any more
/// is begun last, the smallest first: so the time that is left is never spent on a volume that would be cut off, while another
/// would have made it.
enum FlushPlan {
    struct Candidate: Sendable, Equatable {
        var id: VolumeID
        /// Another node, or a snapshot, waits for it.
        var isAwaited: Bool
        /// nil where it is not known, and may be much.
        var unsavedBytes: UInt64?
        /// How often it has failed in this flush: what fails is tried again once the others have had their turns.
        var failures = 0

        var failedOnceMore: Candidate {
            var next = self
            next.failures += 1
            return next
        }
    }

    /// - Parameters:
    ///   - left: until the deadline; nil where there is none.
    ///   - bytesPerSecond: of one transfer; nil where it is not known, and all is hoped to make it.
    /// - Returns: whose turn it is; nil where there is no candidate.
    static func next(
        of candidates: [Candidate], left: Duration?, bytesPerSecond: Double?
    ) -> Candidate? {
        func fits(_ candidate: Candidate) -> Bool {
            guard let left, let speed = bytesPerSecond, let bytes = candidate.unsavedBytes else { return true }
            return Double(bytes) <= speed * (left / .seconds(1))
        }
        func goes(_ a: Candidate, before b: Candidate) -> Bool {
            if a.failures != b.failures { return a.failures < b.failures }
            let (aFits, bFits) = (fits(a), fits(b))
            if aFits != bFits { return aFits }
            if a.isAwaited != b.isAwaited { return a.isAwaited }
            let (aBytes, bBytes) = (a.unsavedBytes ?? .max, b.unsavedBytes ?? .max)
            if aBytes != bBytes { return aFits ? aBytes > bBytes : aBytes < bBytes }
            return a.id.rawValue < b.id.rawValue
        }
        return candidates.min { goes($0, before: $1) }
    }
}
