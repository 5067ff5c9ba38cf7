import Persistence

/// What an ephemeral volume is called on its node. It follows from the id that the orchestrator made up, which can be of any
/// form, and no other volume can have it.
struct EphemeralID: DerivedID {
    static let prefix = "eph-"
    static let kind = "ephemeral volume"
    let rawValue: String

    init(unchecked rawValue: String) { self.rawValue = rawValue }
}
