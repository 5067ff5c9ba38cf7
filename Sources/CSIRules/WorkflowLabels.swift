import CSI

/// What a workflow says of itself in a volume's context, for the provenance of generations.
///
/// It is for the record only. So what breaks a rule is left out, and told of, instead of keeping a pod from its volume.
public struct WorkflowLabels: Sendable, Equatable {
    /// How many labels are kept, and bytes of a label's name and value.
    public static let countLimit = 32
    public static let nameLimit = 63
    public static let valueLimit = 256

    public private(set) var labels: [String: String] = [:]
    /// What was left out, and why.
    public private(set) var omissions: [String] = []

    /// - Parameter context: well-formed, as `RequestChecks.map` has it.
    public init(in context: [String: String]) {
        let prefix = Driver.VolumeContextKey.workflowPrefix
        for (key, value) in context.sorted(by: { $0.key < $1.key }) where key.hasPrefix(prefix) {
            let name = String(key.dropFirst(prefix.count))
            if let reason = reasonToOmit(name, value) {
                omissions.append("workflow label '\(name.prefix(Self.nameLimit))' is left out: \(reason)")
            } else {
                labels[name] = value
            }
        }
    }

    private func reasonToOmit(_ name: String, _ value: String) -> String? {
        if !Self.isName(name) {
            return
                "a name has up to \(Self.nameLimit) letters, digits, '-', '_' and '.', a letter or digit first and last"
        }
        if value.utf8.count > Self.valueLimit {
            return "its value has \(value.utf8.count) bytes, and may have \(Self.valueLimit)"
        }
        if value.unicodeScalars.contains(where: { $0.properties.generalCategory == .control }) {
            return "its value has control characters"
        }
        return labels.count < Self.countLimit ? nil : "it is one more than the \(Self.countLimit) that are kept"
    }

    private static func isName(_ name: String) -> Bool {
        func isAlphanumeric(_ byte: UInt8) -> Bool {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"):
                true
            default: false
            }
        }
        let bytes = Array(name.utf8)
        guard (1...nameLimit).contains(bytes.count) else { return false }
        return isAlphanumeric(bytes[0]) && isAlphanumeric(bytes[bytes.count - 1])
            && bytes.allSatisfy { isAlphanumeric($0) || "-_.".utf8.contains($0) }
    }
}
