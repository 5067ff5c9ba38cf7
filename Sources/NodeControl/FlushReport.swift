import Foundation
import Units

/// What a flush of a node has brought to the bucket, and what it has not: as it goes on, and at its end. Keys stay; new ones may
/// come.
public struct FlushReport: Codable, Sendable, Equatable {
    /// What has become of a volume.
    public enum Outcome: String, Codable, Sendable, CaseIterable {
        /// Its turn has not come.
        case waiting
        case running
        /// What it held when its turn came is a generation.
        case committed
        /// It held nothing that the newest generation has not.
        case unchanged
        /// The node had lost the lease, or the volume is deleted: what a lost lease leaves is in the bucket, as a branch.
        case branch
        /// Begun, and not committed by the deadline. The node plugin goes on with it for as long as it runs.
        case late
        /// Its turn did not come before the deadline.
        case notBegun
        case failed

        /// All that the volume held is in the bucket.
        public var isSafe: Bool { self == .committed || self == .unchanged || self == .branch }
    }

    public struct Volume: Codable, Sendable, Equatable {
        public var id: String
        /// As people know it: its claim, or else the name it was created by; nil where the node has not read its record.
        public var name: String?
        /// Whether pods of the node had it when its turn ended, so that more may be written at any time.
        public var isPublished: Bool
        public var outcome: Outcome
        /// What the newest generation had not, when the flush began; nil where that was not known.
        public var unsavedBytes: UInt64?
        /// The newest generation; nil where there is none.
        public var generation: UInt64?
        /// What was sent for it, compressed; nil where this flush committed none.
        public var sentBytes: UInt64?
        /// From when its turn came.
        public var seconds: Double?
        /// Written since what is committed was cut; nil where that is not known, and 0 where no pod has the volume.
        public var writtenSinceBytes: UInt64?
        /// How far it is, or why it failed.
        public var detail: String?

        public init(
            id: String, name: String? = nil, isPublished: Bool, outcome: Outcome, unsavedBytes: UInt64? = nil,
            generation: UInt64? = nil, sentBytes: UInt64? = nil, seconds: Double? = nil,
            writtenSinceBytes: UInt64? = nil, detail: String? = nil
        ) {
            (self.id, self.name, self.isPublished, self.outcome) = (id, name, isPublished, outcome)
            (self.unsavedBytes, self.generation, self.sentBytes) = (unsavedBytes, generation, sentBytes)
            (self.seconds, self.writtenSinceBytes, self.detail) = (seconds, writtenSinceBytes, detail)
        }
    }

    /// The node, with its cluster: "default/node-7".
    public var node: String
    /// How long the flush was given; nil for as long as it takes.
    public var deadlineSeconds: Double?
    public var seconds: Double
    public var isFinished: Bool
    /// In the order in which their turns came, those that still wait last.
    public var volumes: [Volume]
    /// Ephemeral volumes that pods have: nothing of them is ever in the bucket.
    public var ephemeralVolumes: Int

    public init(
        node: String, deadlineSeconds: Double?, seconds: Double = 0, isFinished: Bool = false, volumes: [Volume] = [],
        ephemeralVolumes: Int = 0
    ) {
        (self.node, self.deadlineSeconds, self.seconds) = (node, deadlineSeconds, seconds)
        (self.isFinished, self.volumes, self.ephemeralVolumes) = (isFinished, volumes, ephemeralVolumes)
    }

    /// All that the node's volumes held when their turns came is in the bucket.
    public var isComplete: Bool { isFinished && volumes.allSatisfy(\.outcome.isSafe) }

    /// "5 of 7 volumes are in the bucket after 48 s; 2 are not".
    public var summary: String {
        let safe = volumes.count { $0.outcome.isSafe }
        guard !volumes.isEmpty else { return "no volume of node \(node) holds anything that is not in the bucket" }
        let time = Duration.seconds(seconds).text
        let what = "\(safe) of \(volumes.count) volumes of node \(node) are in the bucket after \(time)"
        return safe == volumes.count
            ? what : what + "; \(volumes.count - safe) \(volumes.count - safe == 1 ? "is" : "are") not"
    }
}

extension FlushReport.Volume {
    /// "default/results: committed as generation 7, 12.0 MiB sent, 3.4 s; written since: 4.0 KiB".
    public var text: String {
        var text = "\(name ?? id): \(result)"
        if isPublished, outcome == .committed {
            text += "; a pod has it" + (writtenSinceBytes.map { ", written since: \(ByteCount($0))" } ?? "")
        }
        return text
    }

    /// What became of it, in words.
    public var result: String {
        let time = seconds.map { ", \(Duration.seconds($0).text)" } ?? ""
        let unsaved = unsavedBytes.map { "\(ByteCount($0))" } ?? "an amount that is not known"
        return switch outcome {
        case .waiting: "waiting, \(unsaved) to save"
        case .running: detail ?? "running"
        case .committed:
            "committed as generation \(generation ?? 0)" + (sentBytes.map { ", \(ByteCount($0)) sent" } ?? "") + time
        case .unchanged: "nothing to save"
        case .branch: "the lease was lost, and the work is kept as a branch; nothing, where the volume is deleted"
        case .late: "NOT in time (\(detail ?? "running")), \(unsaved) to save"
        case .notBegun: "NOT begun in time, \(unsaved) to save"
        case .failed: "FAILED: \(detail ?? "no reason is known")"
        }
    }
}
