import Foundation
import Persistence
import Units

/// A volume as `--json` shows it. Keys stay; new ones may come.
struct VolumeDescription: Encodable {
    struct Lease: Encodable {
        var node: String
        var state: String
        var since: Date
        /// null where pods write, or all is committed.
        var heldBackUntil: Date?
    }

    struct Loss: Encodable {
        var node: String
        var epoch: UInt64
        var openSince: Date
        var revokedAt: Date
    }

    var id: String
    var name: String
    /// "namespace/claim"; null where the provisioner did not tell.
    var claim: String?
    var incarnation: String
    var lineage: String
    var capacityBytes: UInt64
    var pool: String
    var blockSize: Int
    var stageOut: String
    var createdAt: Date
    var epoch: UInt64
    /// The newest; 0 where nothing has been staged out.
    var generation: UInt64
    var lease: Lease?
    var loss: Loss?

    init(_ listing: VolumeListing) {
        let (record, head) = (listing.record, listing.head)
        id = record.volume.rawValue
        name = record.name
        claim = record.claim?.description
        incarnation = record.incarnation.rawValue
        lineage = record.lineage
        capacityBytes = record.capacityBytes
        pool = record.parameters.pool
        blockSize = record.parameters.blockSize
        stageOut = record.parameters.stageOut.rawValue
        createdAt = record.createdAt
        epoch = head.epoch
        generation = head.newest?.number ?? 0
        lease = head.lease.map {
            Lease(
                node: $0.holder.description, state: $0.state.rawValue, since: $0.since,
                heldBackUntil: $0.isHeldBack ? $0.heldBackUntil : nil)
        }
        loss = head.loss.map {
            Loss(node: $0.node.description, epoch: $0.epoch, openSince: $0.openSince, revokedAt: $0.revokedAt)
        }
    }
}

/// A generation as `--json` shows it. Keys stay; new ones may come.
struct GenerationDescription: Encodable {
    var number: UInt64
    /// Of what it was made from; null for the first.
    var parent: UInt64?
    var epoch: UInt64
    var node: String
    /// Since when the node could write what is in it; null in records of older versions.
    var startedAt: Date?
    var cutAt: Date
    var stagedOutAt: Date
    var capacityBytes: UInt64
    /// Of the blocks that are not all zeros.
    var allocatedBytes: UInt64
    var readBytes: UInt64
    var changedBytes: UInt64
    var sentBytes: UInt64
    /// Names the contents: the same bytes have the same digest.
    var contentDigest: String
    /// SHA-256 of the parent's record; null for the first.
    var parentDigest: String?
    /// Who had the volume meanwhile, and how many more did.
    var uses: [Use]
    var omittedUses: Int

    struct Use: Encodable {
        /// null where the orchestrator does not tell.
        var pod: String?
        var namespace: String?
        var podUID: String?
        var serviceAccount: String?
        var labels: [String: String]
        var isReadOnly: Bool
        var startedAt: Date
        /// null where it still had the volume at the cut.
        var endedAt: Date?

        init(_ use: VolumeUse) {
            pod = use.pod?.name
            namespace = use.pod?.namespace
            podUID = use.pod?.uid
            serviceAccount = use.pod?.serviceAccount
            labels = use.labels ?? [:]
            isReadOnly = use.isReadOnly
            startedAt = use.startedAt
            endedAt = use.endedAt
        }
    }

    init(_ record: GenerationRecord) {
        number = record.number
        parent = record.parent?.number
        epoch = record.epoch
        node = record.provenance.node.description
        startedAt = record.provenance.startedAt
        cutAt = record.provenance.cutAt
        stagedOutAt = record.provenance.stagedOutAt
        capacityBytes = record.map.capacityBytes
        allocatedBytes = record.map.allocatedBytes
        readBytes = record.provenance.readBytes
        changedBytes = record.provenance.changedBytes
        sentBytes = record.provenance.sentBytes
        contentDigest = record.map.contentDigest.hex
        parentDigest = record.parent?.digest.hex
        uses = (record.provenance.uses ?? []).map(Use.init)
        omittedUses = record.provenance.omittedUses ?? 0
    }
}

extension VolumeUse {
    /// Who, as what, and from when to when: "default/pod as runner, from 2026-03-01 12:34:56 to 2026-03-01 12:40:00 UTC".
    var title: String {
        let who = pod.map { $0.description + ($0.serviceAccount.map { " as \($0)" } ?? "") } ?? "a pod without a name"
        let end = endedAt.map { "to \(Output.time($0))" } ?? "on"
        return "\(who), from \(Output.time(startedAt)) \(end) UTC" + (isReadOnly ? ", read-only" : "")
    }
}

/// Who may write, in words: "free", "on cluster/node, with changes since 2026-03-01 12:34:56".
func leaseText(_ head: Head) -> String {
    guard let lease = head.lease else { return "free" }
    switch lease.state {
    case .granted: return "granted to \(lease.holder)"
    case .open where lease.isHeldBack:
        return "held back on \(lease.holder)" + (lease.heldBackUntil.map { " until \(Output.time($0))" } ?? "")
    case .open: return "open on \(lease.holder) since \(Output.time(lease.since))"
    case .closed: return "kept by \(lease.holder), all committed"
    }
}
