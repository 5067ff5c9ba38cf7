import Digests
import Errors
import Foundation

/// `volumes/<volume>/head.json`: a volume's one mutable record, changed by compare-and-swap only.
///
/// Its steps are pure: each returns the head to write, or throws why it may not be. `Catalog.updateHead` does the reading
/// and the conditional write. What a step relies on is in the head alone, so whoever wins the compare-and-swap is right.
///
///     released --grant--> granted --open--> open --close--> closed --release--> released
///        |                   ^               | \--revoke--> released, and a loss is on record
///        \--open (no controller attaches)----/
public struct Head: Record, Equatable {
    static let format = "perssd-head"
    static let currentVersion = 1

    public var volume: VolumeID
    public var incarnation: Incarnation
    /// The fencing token: grows with each grant and each revocation, and never shrinks.
    public var epoch: UInt64
    /// The newest committed generation; nil where the volume has never been staged out.
    public var newest: GenerationReference?
    /// Who may write; nil where nobody may.
    public var lease: Lease?
    /// The last time that uncommitted work was given up.
    public var loss: Loss?
    /// Set where the volume is deleted: from then on nothing is granted.
    public var deletedAt: Date?

    /// A volume that nobody has written yet.
    ///
    /// - Parameter origin: the generation of another volume that a clone begins at.
    public init(volume: VolumeID, incarnation: Incarnation, origin: GenerationReference? = nil) {
        self.volume = volume
        self.incarnation = incarnation
        newest = origin
        epoch = 0
    }
}

/// Names one generation, and what its record has to be.
public struct GenerationReference: Sendable, Codable, Hashable, CustomStringConvertible {
    /// Whose generation it is: a clone's head begins at one of another volume.
    public var volume: VolumeID
    public var incarnation: Incarnation
    /// From 1 up.
    public var number: UInt64
    /// The SHA-256 of the record, so that no other one is ever taken for it.
    public var digest: Digest

    public init(volume: VolumeID, incarnation: Incarnation, number: UInt64, digest: Digest) {
        (self.volume, self.incarnation, self.number, self.digest) = (volume, incarnation, number, digest)
    }

    public var description: String { "generation \(number) of \(volume)" }
}

/// The right of one node to write a volume.
public struct Lease: Sendable, Codable, Hashable {
    public enum State: String, Sendable, Codable {
        /// Given by the controller; the node has not begun.
        case granted
        /// The node may have uncommitted writes.
        case open
        /// All that the node wrote is committed.
        case closed
    }

    public var holder: NodeReference
    public var state: State
    public var since: Date
    /// How the controller published it; nil where the node took the lease itself.
    public var publication: Publication?
    /// When the controller first asked for it back while there was uncommitted work.
    public var detachRequestedAt: Date?
    /// Set while no pod has the volume on the node, and what was written is kept back there (`stageOutDelay`): until then, by the
    /// node's clock, or until somebody else wants the volume.
    public var heldBackUntil: Date?
    /// The last sign of life of the holder that the controller saw since it asked.
    public var signOfLife: SignOfLife?

    /// A node's record was seen to have changed. The two clocks are never compared with each other, so that a node whose
    /// clock is wrong is not taken for dead.
    public struct SignOfLife: Sendable, Codable, Hashable {
        /// What the node's record said, by the node's clock.
        public var seenAt: Date
        /// When the controller first read that, by its own clock.
        public var notedAt: Date

        public init(seenAt: Date, notedAt: Date) { (self.seenAt, self.notedAt) = (seenAt, notedAt) }
    }

    /// Since when the controller has been waiting for work to be committed with no sign of life; nil where it does not.
    public var silentSince: Date? {
        detachRequestedAt.map { asked in signOfLife.map { max(asked, $0.notedAt) } ?? asked }
    }

    /// No pod writes, and not all is committed: the node waits for whoever comes next.
    public var isHeldBack: Bool { state == .open && heldBackUntil != nil }

    /// What has to be the same for a repeated ControllerPublishVolume to be the same request.
    public struct Publication: Sendable, Codable, Hashable, CustomStringConvertible {
        /// The specification's name of the access mode.
        public var accessMode: String
        /// "mount" or "block".
        public var accessType: String
        public var readOnly: Bool

        public init(accessMode: String, accessType: String, readOnly: Bool) {
            (self.accessMode, self.accessType, self.readOnly) = (accessMode, accessType, readOnly)
        }

        public var description: String { "\(accessType) \(accessMode)" + (readOnly ? ", read-only" : "") }
    }
}

/// Work that was given up: a node's lease was revoked while it had, or may have had, uncommitted writes.
public struct Loss: Sendable, Codable, Hashable {
    public var node: NodeReference
    /// Under which it had been writing, and under which its branch will be kept should it come back.
    public var epoch: UInt64
    /// What was newest then; 0 for none.
    public var newestGeneration: UInt64
    public var openSince: Date
    public var revokedAt: Date

    public init(node: NodeReference, epoch: UInt64, newestGeneration: UInt64, openSince: Date, revokedAt: Date) {
        self.node = node
        self.epoch = epoch
        self.newestGeneration = newestGeneration
        self.openSince = openSince
        self.revokedAt = revokedAt
    }
}
