import Errors
import Units

/// What of a volume's parameters may change while it lives, whether pods have it or not: a VolumeAttributesClass.
extension VolumeParameters {
    /// The keys that may be changed. The others say how the volume is made, where it is, or what is lost with its node.
    public static let mutableKeys = [
        "checkpointInterval", "compressionLevel", "retention", "stageOut", "stageOutBandwidth", "stageOutDelay",
    ]

    /// What turns a parameter off that is off where nobody gives it.
    private static let off = "none"
    /// Below the least, a stage-out of any size takes days.
    private static let bandwidths: ClosedRange<UInt64> = (1 << 20)...(1 << 40)

    static func checkpointInterval(_ value: String) throws -> Int? {
        if value == off { return nil }
        guard let duration = Duration(parsing: value), (.seconds(10)...(.seconds(604_800))).contains(duration) else {
            throw refused("checkpointInterval", value, "a duration from 10s to 168h, such as 15m, or '\(off)'")
        }
        return Int(duration.components.seconds)
    }

    static func stageOutBandwidth(_ value: String) throws -> UInt64? {
        if value == off { return nil }
        guard let bytes = ByteCount(parsing: value)?.bytes, bandwidths.contains(bytes) else {
            throw refused("stageOutBandwidth", value, "bytes a second from 1Mi to 1Ti, such as 50Mi, or '\(off)'")
        }
        return bytes
    }

    static func stageOutDelay(_ value: String) throws -> Int? {
        if value == off || value == "0" { return nil }
        guard let duration = Duration(parsing: value), (.zero...(.seconds(86_400))).contains(duration) else {
            throw refused("stageOutDelay", value, "a duration up to 24h in whole seconds, such as 10m, or '\(off)'")
        }
        let seconds = Int(duration.components.seconds)
        return seconds == 0 ? nil : seconds
    }

    /// That the parameters go together, whichever of a StorageClass and a VolumeAttributesClass they came from.
    ///
    /// - Throws: `invalidArgument` naming those that do not.
    public func requireConsistent() throws {
        guard let stageOutDelay, stageOut != .background else { return }
        throw PerSSDError(
            .invalidArgument,
            "parameter stageOutDelay is \(stageOutDelay)s, and stageOut is \(stageOut.rawValue), with which the end of a pod "
                + "waits for its stage-out",
            remedy: "give stageOut: \(StageOutMode.background.rawValue), or stageOutDelay: \(Self.off)")
    }

    /// The parameters with some of them changed. Those that are not named stay.
    ///
    /// - Throws: `invalidArgument` naming a key that may not be changed, or is none, and those that may; or one whose value
    ///   cannot be.
    public func changed(to mutable: [String: String]) throws -> VolumeParameters {
        var next = self
        for (key, value) in mutable.sorted(by: { $0.key < $1.key }) {
            guard Self.mutableKeys.contains(key) else {
                let what = Self.knownKeys.contains(key) ? "is fixed when a volume is made" : "no volume has"
                throw PerSSDError(
                    .invalidArgument, "mutable_parameters has '\(key.prefix(100))', which \(what)",
                    remedy: "those that may be changed are \(Self.mutableKeys.joined(separator: ", "))")
            }
            try next.set(key, to: value)
        }
        return next
    }

    /// These parameters with another's in place of those that may be changed.
    func takingMutable(of other: VolumeParameters) -> VolumeParameters {
        var next = self
        next.checkpointInterval = other.checkpointInterval
        next.compressionLevel = other.compressionLevel
        next.retention = other.retention
        next.stageOut = other.stageOut
        next.stageOutBandwidth = other.stageOutBandwidth
        next.stageOutDelay = other.stageOutDelay
        return next
    }
}

extension VolumeRecord {
    /// Whether the volume is one that was made with these parameters. Of one that was modified since, those that may change
    /// tell nothing of how it was made.
    public func wasMade(with parameters: VolumeParameters) -> Bool {
        self.parameters == (modifiedAt == nil ? parameters : parameters.takingMutable(of: self.parameters))
    }
}
