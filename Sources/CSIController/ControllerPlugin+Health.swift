import CSI
import CSIRules
import Errors
import Foundation
import Persistence
import RPC
import Units

extension ControllerPlugin {
    /// A volume, where it is published, and how well it is, as far as the bucket tells: a node knows more of what it has.
    public func controllerGetVolume(
        _ request: ControllerGetVolumeRequest, context: RPCContext
    ) async throws -> ControllerGetVolumeResponse {
        guard let id = try VolumeID.named(request.volumeID) else { throw Self.noVolume(request.volumeID) }
        let listing = try await catalog.volume(id)
        let readers = try await catalog.readingNodes(of: [id], cluster: cluster)
        return ControllerGetVolumeResponse(
            volume: message(listing.record),
            status: ControllerGetVolumeResponse.VolumeStatus(
                publishedNodeIDs: publishedNodes(listing.head, readers: readers[id]),
                volumeCondition: try await condition(of: listing)))
    }

    /// What can be wrong with a volume that no node tells of: its node is silent, or work was lost. Else how much would be
    /// lost were its node lost now.
    private func condition(of listing: VolumeListing) async throws -> VolumeCondition {
        let (head, now) = (listing.head, catalog.time)
        if let lease = head.lease, lease.state == .open {
            let node = try await catalog.node(lease.holder)
            guard let node, node.isAlive(at: now) else {
                let silence = node.map { "silent for \(age(of: $0.seenAt, at: now))" } ?? "unknown to the bucket"
                return VolumeCondition(
                    abnormal: true,
                    message: "node \(lease.holder.node), which has the volume open, is \(silence); "
                        + (try await recoveryPoint(of: head, at: now)))
            }
        }
        if let loss = head.loss, loss.newestGeneration == head.newest?.number ?? 0 {
            return VolumeCondition(
                abnormal: true,
                message:
                    "what node \(loss.node.node) wrote from \(loss.openSince.formatted(.iso8601)) to its loss is lost to the "
                    + "volume; " + (try await recoveryPoint(of: head, at: now)))
        }
        return VolumeCondition(abnormal: false, message: try await recoveryPoint(of: head, at: now))
    }

    /// What the volume would come back as.
    private func recoveryPoint(of head: Head, at now: Date) async throws -> String {
        guard let point = try await catalog.recoveryPoint(of: head) else {
            return "nothing of the volume has been staged out yet"
        }
        return "the newest generation is \(point.generation), \(point.age(at: now).text) old"
    }

    private func age(of date: Date, at now: Date) -> String {
        Duration.seconds(max(0, now.timeIntervalSince(date))).text
    }
}
