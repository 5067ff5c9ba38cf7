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

extension DerivedID {
    /// The volume or snapshot that a request names; nil for an id that none can have: the caller says what that means.
    ///
    /// - Throws: `invalidArgument` where it is missing or too long.
    static func named(_ text: String) throws -> Self? {
        try RequestChecks.required(text, "\(kind)_id")
        return Self(text)
    }
}
