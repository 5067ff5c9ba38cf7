import CSI
import Logging
import Metering
import RPC
import Settings
import Units

/// Writes one line for each RPC that ended: method, volume, duration, code, and what the process has asked of its store
/// up to then. Measures it, too.
public struct CallLog: CallObserver {
    private let logger: Logger
    private let store: MeteredStore

    public init(logger: Logger, store: MeteredStore) { (self.logger, self.store) = (logger, store) }

    public func callBegan(_ call: ServedCall) {
        logger.debug("\(call.method) began", metadata: ["request": "\(call)"])
    }

    public func callEnded(_ call: ServedCall, status: RPCStatus?, after duration: Duration) {
        Instruments.rpcDuration.observe(duration, call.method, (status?.code ?? .ok).name)
        let totals = store.totals
        var metadata: Logger.Metadata = [
            "code": "\((status?.code ?? .ok).name)",
            "ms": "\(duration.milliseconds)",
            "storeRequests": "\(totals.requests)",
            "storeSent": "\(totals.sentBytes)",
            "storeReceived": "\(totals.receivedBytes)",
        ]
        for (key, value) in Self.subject(of: call.request) where !value.isEmpty { metadata[key] = "\(value)" }
        if let status { metadata["error"] = "\(status.message)" }
        logger.log(level: Self.level(call.method, status), "\(call.method)", metadata: metadata)
    }

    /// What the caller has to try again, or did wrong, is no fault of the process; probes come every few seconds.
    static func level(_ method: String, _ status: RPCStatus?) -> Logger.Level {
        switch status?.code {
        case nil, .ok: method == "Probe" ? .debug : .info
        case .internal, .dataLoss, .unknown: .error
        case .unavailable, .failedPrecondition, .resourceExhausted, .permissionDenied, .unauthenticated: .warning
        default: .info
        }
    }

    /// What a request is about: the ids of volumes and snapshots, or the name of what has no id yet.
    static func subject(of request: (any CSIMessage)?) -> [String: String] {
        switch request {
        case let request as CreateVolumeRequest: ["name": request.name]
        case let request as DeleteVolumeRequest: ["volume": request.volumeID]
        case let request as ControllerPublishVolumeRequest: ["volume": request.volumeID, "target": request.nodeID]
        case let request as ControllerUnpublishVolumeRequest: ["volume": request.volumeID, "target": request.nodeID]
        case let request as ControllerExpandVolumeRequest: ["volume": request.volumeID]
        case let request as ControllerModifyVolumeRequest: ["volume": request.volumeID]
        case let request as ControllerGetVolumeRequest: ["volume": request.volumeID]
        case let request as ValidateVolumeCapabilitiesRequest: ["volume": request.volumeID]
        case let request as CreateSnapshotRequest: ["volume": request.sourceVolumeID, "name": request.name]
        case let request as DeleteSnapshotRequest: ["snapshot": request.snapshotID]
        case let request as GetSnapshotRequest: ["snapshot": request.snapshotID]
        case let request as CreateVolumeGroupSnapshotRequest:
            ["volumes": request.sourceVolumeIDs.joined(separator: ","), "name": request.name]
        case let request as DeleteVolumeGroupSnapshotRequest: ["groupSnapshot": request.groupSnapshotID]
        case let request as GetVolumeGroupSnapshotRequest: ["groupSnapshot": request.groupSnapshotID]
        case let request as GetMetadataAllocatedRequest: ["snapshot": request.snapshotID]
        case let request as GetMetadataDeltaRequest:
            ["base": request.baseSnapshotID, "snapshot": request.targetSnapshotID]
        case let request as NodePublishVolumeRequest: ["volume": request.volumeID]
        case let request as NodeUnpublishVolumeRequest: ["volume": request.volumeID]
        case let request as NodeExpandVolumeRequest: ["volume": request.volumeID]
        case let request as NodeGetVolumeStatsRequest: ["volume": request.volumeID]
        default: [:]
        }
    }
}

extension Duration {
    /// Whole milliseconds, rounded down.
    var milliseconds: Int64 { components.seconds * 1000 + components.attoseconds / 1_000_000_000_000_000 }
}
