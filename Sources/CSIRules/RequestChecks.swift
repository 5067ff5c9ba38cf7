import Errors

/// What the specification says of fields whatever the call (CSI v1.12.0, "Size Limits" and "Required vs. Optional
/// Fields"). All checks throw `invalidArgument` naming the field.
public enum RequestChecks {
    /// Bytes of a text field, where nothing else is said.
    public static let textLimit = 128
    /// Bytes of a node's id.
    public static let nodeIDLimit = 256
    /// Bytes of a map's keys and values together.
    public static let mapLimit = 4096

    /// A field that has to be there.
    public static func required(_ value: String, _ field: String, limit: Int = textLimit) throws {
        guard !value.isEmpty else {
            throw PerSSDError(.invalidArgument, "\(field) is missing", remedy: "give \(field)")
        }
        try optional(value, field, limit: limit)
    }

    /// A field that may be empty.
    public static func optional(_ value: String, _ field: String, limit: Int = textLimit) throws {
        guard value.utf8.count <= limit else {
            throw PerSSDError(
                .invalidArgument, "\(field) has \(value.utf8.count) bytes, and may have \(limit)",
                remedy: "give a shorter \(field)")
        }
        if let bad = value.unicodeScalars.first(where: isForbidden) {
            let code = String(bad.value, radix: 16, uppercase: true)
            throw PerSSDError(
                .invalidArgument, "\(field) has the control character U+\(code)",
                remedy: "give \(field) without control characters")
        }
    }

    public static func map(_ map: [String: String], _ field: String) throws {
        let size = map.reduce(0) { $0 + $1.key.utf8.count + $1.value.utf8.count }
        guard size <= mapLimit else {
            throw PerSSDError(
                .invalidArgument, "\(field) has \(size) bytes in all, and may have \(mapLimit)",
                remedy: "give fewer or shorter entries")
        }
        for (key, value) in map {
            try required(key, "a key of \(field)", limit: mapLimit)
            try optional(value, "\(field)[\(key.prefix(100))]", limit: mapLimit)
        }
    }

    /// The specification's list: C0 but tab, line feed and carriage return; DEL and C1.
    private static func isForbidden(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x09, 0x0A, 0x0D: false
        case 0x00...0x1F, 0x7F...0x9F: true
        default: false
        }
    }
}
