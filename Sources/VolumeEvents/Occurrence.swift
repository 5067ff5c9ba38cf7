import Foundation
import Persistence
import Units

/// What can happen to a volume that its users care about.
public enum Occurrence: Sendable, Hashable {
    /// It is brought to a pod, and that takes its time. The progress in words.
    case restoring(String)
    case restored(Restored)
    /// It is brought to the bucket, and that takes its time. The progress in words.
    case stagingOut(String)
    case committed(Committed)
    /// Nothing of it differed from its newest generation, which is this one; 0 for none.
    case unchanged(UInt64)
    /// What was written stays on the node alone for so long, at the most, for a pod that may come next.
    case heldBack(node: String, Duration)
    /// What was written is not in the bucket yet, and why; it is tried again.
    case stageOutFailed(String)
    /// No generation could be made of it under its pods, and why.
    case cutFailed(String)
    /// The node was flushed, as before it ends, and this is not in the bucket at the end of that, and why.
    case notSaved(node: String, String)
    /// It can be attached nowhere else until its node has committed all, or is given up.
    case waitingForNode(Waiting)
    /// Its node was silent for too long, and may not commit any more.
    case leaseRevoked(Loss, silence: Duration)
    /// The node had it open, and the local copy is gone. `newest` is what it stands at; nil for its creation.
    case localCopyLost(node: String, openSince: Date, newest: UInt64?)
    /// A pod gets it without what a node had written and not committed.
    case dataLost(Loss)
    case branchKept(Branch)

    public struct Restored: Sendable, Hashable {
        public var generation: UInt64
        /// Whose generation that is, where a clone begins at another volume's.
        public var origin: VolumeID?
        /// The generation that the local copy held before; nil where all came from the bucket.
        public var older: UInt64?
        /// Of the volume, that were brought.
        public var bytes: UInt64
        /// From the bucket, compressed.
        public var receivedBytes: UInt64
        public var duration: Duration

        public init(
            _ generation: UInt64, of origin: VolumeID? = nil, older: UInt64?, bytes: UInt64, receivedBytes: UInt64,
            duration: Duration
        ) {
            (self.generation, self.origin, self.older, self.bytes) = (generation, origin, older, bytes)
            (self.receivedBytes, self.duration) = (receivedBytes, duration)
        }
    }

    public struct Committed: Sendable, Hashable {
        public var generation: UInt64
        /// Of blocks that differ from the generation before.
        public var changedBytes: UInt64
        /// To the bucket, compressed.
        public var sentBytes: UInt64
        /// From the cut to the commit.
        public var duration: Duration

        public init(_ generation: UInt64, changedBytes: UInt64, sentBytes: UInt64, duration: Duration) {
            (self.generation, self.changedBytes) = (generation, changedBytes)
            (self.sentBytes, self.duration) = (sentBytes, duration)
        }
    }

    public struct Waiting: Sendable, Hashable {
        public var node: String
        public var waited: Duration
        /// Since the node's last sign of life.
        public var silence: Duration
        /// How much of it is too much.
        public var limit: Duration

        public init(for node: String, waited: Duration, silence: Duration, limit: Duration) {
            (self.node, self.waited, self.silence, self.limit) = (node, waited, silence, limit)
        }
    }

    public struct Branch: Sendable, Hashable {
        public var epoch: UInt64
        /// The generation it was written on; 0 for an empty volume.
        public var base: UInt64
        public var node: String

        public init(epoch: UInt64, base: UInt64, node: String) {
            (self.epoch, self.base, self.node) = (epoch, base, node)
        }
    }

    public var reason: Reason {
        switch self {
        case .restoring: .restoring
        case .restored: .restored
        case .stagingOut: .stagingOut
        case .committed, .unchanged: .committed
        case .heldBack: .heldBack
        case .stageOutFailed: .stageOutFailed
        case .cutFailed: .cutFailed
        case .notSaved: .notSaved
        case .waitingForNode: .waitingForNode
        case .leaseRevoked: .leaseRevoked
        case .localCopyLost: .localCopyLost
        case .dataLost: .dataLost
        case .branchKept: .branchKept
        }
    }

    var text: String {
        switch self {
        case .restoring(let progress), .stagingOut(let progress): progress
        case .restored(let restored): restored.text
        case .committed(let committed): committed.text
        case .unchanged(let newest): "nothing had changed, and \(Self.named(newest)) stays what it stands at"
        case .heldBack(let node, let delay):
            "what was written stays on node \(node) alone for a pod that may come next, and is staged out after "
                + "\(delay.text) at the latest"
        case .stageOutFailed(let error):
            "what was written is not in the bucket yet, and staging out is tried again: \(error)"
        case .cutFailed(let error): "no generation could be made of it under its pods: \(error)"
        case .notSaved(let node, let why):
            "node \(node) was flushed, and what was written to the volume was not in the bucket at the end of that; should the "
                + "node end now, it goes with its drives: \(why)"
        case .waitingForNode(let waiting): waiting.text
        case .leaseRevoked(let loss, let silence):
            "node \(loss.node.node) was silent for \(silence.text) while it had the volume open, and its lease is revoked: "
                + "\(Self.lost(by: loss)). Should the node come back, it keeps that work as a branch"
        case .localCopyLost(let node, let since, let newest):
            "node \(node) had the volume open since \(since.formatted(.iso8601)), and its local copy is gone: what was "
                + "written and not committed is lost to the volume, which stands at \(Self.named(newest ?? 0))"
        case .dataLost(let loss): "it goes on from \(Self.named(loss.newestGeneration)): \(Self.lost(by: loss))"
        case .branchKept(let branch):
            "node \(branch.node) lost the lease before it had committed all: what it wrote after "
                + "\(Self.named(branch.base)) is kept as the branch of epoch \(branch.epoch), and is not part of the volume"
        }
    }

    private static func lost(by loss: Loss) -> String {
        "what node \(loss.node.node) wrote since \(loss.openSince.formatted(.iso8601)) and had not committed is lost to the "
            + "volume, which stands at \(named(loss.newestGeneration))"
    }

    private static func named(_ generation: UInt64) -> String {
        generation == 0 ? "its creation" : "generation \(generation)"
    }
}

extension Occurrence.Restored {
    fileprivate var text: String {
        let way = older.map { "brought the local copy from generation \($0) to generation \(generation)" }
        let whole = "restored generation \(generation)\(origin.map { " of volume \($0)" } ?? "") from the bucket"
        return "\(way ?? whole): \(ByteCount(bytes)), for which "
            + "\(ByteCount(receivedBytes)) were received, in \(duration.text)"
    }
}

extension Occurrence.Committed {
    fileprivate var text: String {
        "committed generation \(generation): \(ByteCount(changedBytes)) had changed, \(ByteCount(sentBytes)) were sent, in "
            + duration.text
    }
}

extension Occurrence.Waiting {
    fileprivate var text: String {
        "node \(node) has not committed all it wrote, and the volume is attached nowhere else before: waiting for "
            + "\(waited.text); the node has been silent for \(silence.text), and is given up after \(limit.text) of that"
    }
}
