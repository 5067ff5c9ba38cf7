import CSI
import CSIRules
import Persistence

extension VolumeCapability {
    /// How a volume is published that is published like this.
    func publication(readOnly: Bool) -> Lease.Publication {
        let isBlock = if case .block = accessType { true } else { false }
        return Lease.Publication(
            accessMode: (accessMode?.mode ?? .unknown).name, accessType: isBlock ? "block" : "mount",
            readOnly: readOnly)
    }
}

extension VolumeID {
    /// The volume that a request names; nil for an id that no volume can have: the caller says what that means.
    ///
    /// - Throws: `invalidArgument` where it is missing or too long.
    static func named(_ text: String) throws -> VolumeID? {
        try RequestChecks.required(text, "volume_id")
        return VolumeID(text)
    }
}
