extension CSIMessage {
    /// One line with the fields that are set; secrets are taken out.
    public var description: String {
        let type = Self.fullName.drop { $0.isLowercase || $0.isNumber || $0 == "." }
        let fields = customMirror.children.compactMap { child in
            text(of: child.value).map { "\(child.label ?? ""): \($0)" }
        }
        return "\(type)(\(fields.joined(separator: ", ")))"
    }

    public var debugDescription: String { description }

    /// The description, cut to a number of characters.
    public func description(limit: Int) -> String {
        let whole = description
        return whole.count <= limit ? whole : whole.prefix(max(limit - 3, 0)) + "..."
    }
}

/// A field's value as text; nil where it is not set.
private func text(of value: Any) -> String? {
    let mirror = Mirror(reflecting: value)
    if mirror.displayStyle == .optional {
        // What is optional and set is shown even where it is false or zero.
        return mirror.children.first.map { text(of: $0.value) ?? "\($0.value)" }
    }
    switch value {
    case let value as Redacted: return value.isEmpty ? nil : value.description
    case let value as any CSIMessage: return value.description
    case let value as any CSIEnum: return value.rawValue == 0 ? nil : value.name
    case let value as String: return value.isEmpty ? nil : value.debugDescription
    case let value as Bool: return value ? "true" : nil
    case let value as Timestamp: return "\(value.seconds) s + \(value.nanoseconds) ns"
    case let value as Int32: return value == 0 ? nil : "\(value)"
    case let value as Int64: return value == 0 ? nil : "\(value)"
    case let value as [String: String]:
        let entries = value.sorted { $0.key < $1.key }
            .map { "\($0.key.debugDescription): \($0.value.debugDescription)" }
        return entries.isEmpty ? nil : "[\(entries.joined(separator: ", "))]"
    default: break
    }
    switch mirror.displayStyle {
    case .collection:
        let elements = mirror.children.map { text(of: $0.value) ?? "\"\"" }
        return elements.isEmpty ? nil : "[\(elements.joined(separator: ", "))]"
    case .enum:
        return mirror.children.first.map { ".\($0.label ?? "")(\(text(of: $0.value) ?? ""))" }
    default:
        return String(describing: value)
    }
}
