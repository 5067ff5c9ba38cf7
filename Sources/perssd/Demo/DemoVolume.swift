import CSI
import Errors
import Foundation
import RPC

/// A volume of the demo, moved about by the calls that kubelet and the sidecars make, in their order.
struct DemoVolume: Sendable {
    let id: String
    let capacityBytes: Int64
    private let context: [String: String]
    private let controller: DemoPlugin

    static let claim = (namespace: "default", name: "demo")

    private static let capability = VolumeCapability(
        accessType: .mount(VolumeCapability.MountVolume(fsType: "ext4")),
        accessMode: VolumeCapability.AccessMode(mode: .singleNodeWriter))

    /// kubelet's own bound for one call of a node plugin.
    private static let timeout = Duration.seconds(120)

    /// What the provisioner does for a new claim.
    static func create(bytes: Int64, by controller: DemoPlugin) async throws -> DemoVolume {
        let name = "pvc-\(UUID().uuidString.lowercased())"
        let response = try await retrying("CreateVolume") {
            try await controller.controller.createVolume(
                CreateVolumeRequest(
                    name: name, capacityRange: CapacityRange(requiredBytes: bytes), volumeCapabilities: [capability],
                    parameters: [
                        "csi.storage.k8s.io/pvc/name": claim.name,
                        "csi.storage.k8s.io/pvc/namespace": claim.namespace, "csi.storage.k8s.io/pv/name": name,
                    ]), options: RPCCallOptions(timeout: timeout))
        }
        guard let volume = response.volume, !volume.volumeID.isEmpty else {
            throw PerSSDError(.internal, "CreateVolume answered without a volume")
        }
        return DemoVolume(
            id: volume.volumeID, capacityBytes: volume.capacityBytes, context: volume.volumeContext,
            controller: controller)
    }

    /// What the attacher does before a pod can start on a node.
    ///
    /// - Returns: what the controller wants the node to know.
    func attach(to node: DemoPlugin) async throws -> [String: String] {
        let nodeID = try await nodeID(node)
        return try await Self.retrying("ControllerPublishVolume") {
            try await controller.controller.controllerPublishVolume(
                ControllerPublishVolumeRequest(
                    volumeID: id, nodeID: nodeID, volumeCapability: Self.capability, volumeContext: context),
                options: RPCCallOptions(timeout: Self.timeout))
        }.publishContext
    }

    /// What kubelet does when a pod starts.
    ///
    /// - Parameter target: where the pod sees the volume; kubelet makes its parent, and the plugin the directory.
    func publish(on node: DemoPlugin, at target: String, _ publishContext: [String: String]) async throws {
        _ = try await Self.retrying("NodePublishVolume") {
            try await node.node.nodePublishVolume(
                NodePublishVolumeRequest(
                    volumeID: id, publishContext: publishContext, targetPath: target,
                    volumeCapability: Self.capability, volumeContext: context),
                options: RPCCallOptions(timeout: Self.timeout))
        }
    }

    /// What kubelet does when the pod has ended.
    func unpublish(on node: DemoPlugin, at target: String) async throws {
        _ = try await Self.retrying("NodeUnpublishVolume") {
            try await node.node.nodeUnpublishVolume(
                NodeUnpublishVolumeRequest(volumeID: id, targetPath: target),
                options: RPCCallOptions(timeout: Self.timeout))
        }
    }

    /// What the attacher does when no pod on the node needs the volume any more.
    func detach(from node: DemoPlugin) async throws {
        let nodeID = try await nodeID(node)
        _ = try await Self.retrying("ControllerUnpublishVolume") {
            try await controller.controller.controllerUnpublishVolume(
                ControllerUnpublishVolumeRequest(volumeID: id, nodeID: nodeID),
                options: RPCCallOptions(timeout: Self.timeout))
        }
    }

    /// What the provisioner does when the claim is deleted.
    func delete() async throws {
        _ = try await Self.retrying("DeleteVolume") {
            try await controller.controller.deleteVolume(
                DeleteVolumeRequest(volumeID: id), options: RPCCallOptions(timeout: Self.timeout))
        }
    }

    private func nodeID(_ node: DemoPlugin) async throws -> String {
        try await node.node.nodeGetInfo(NodeGetInfoRequest(), options: RPCCallOptions(timeout: .seconds(30))).nodeID
    }

    /// Calls again what may succeed later, at growing intervals, as kubelet and the sidecars do.
    private static func retrying<Value: Sendable>(
        _ method: String, _ call: @Sendable () async throws -> Value
    ) async throws -> Value {
        var pause = Duration.milliseconds(500)
        for attempt in 1... {
            do {
                return try await call()
            } catch let status as RPCStatus {
                let isPassing = [.aborted, .unavailable, .deadlineExceeded].contains(status.code)
                guard isPassing, attempt < 30 else {
                    throw PerSSDError(.failedPrecondition, "\(method) failed: \(status)")
                }
                Output.note("    \(method): \(status) - asking again in \(pause.text)")
            }
            try await Task.sleep(for: pause)
            pause = min(pause * 2, .seconds(30))
        }
        throw PerSSDError(.internal, "\(method) was given up")
    }
}
