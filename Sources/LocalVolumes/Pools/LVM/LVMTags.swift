import Errors

/// What PerSSD says in the tags of volume groups and logical volumes (lvm(8), "TAGS").
///
/// A volume group of ours has `perssd`, `perssd.format=1` and `perssd.pool=<name>`, and `perssd.new` until its thin pool is
/// made. A logical volume of ours has `perssd` and `perssd.kind=pool|copy|cut|base`; all but the pool have
/// `perssd.volume=<id>`. A base has `perssd.generation`, and a copy has its whole record.
enum LVMTags {
    static let mark = "perssd"
    static let new = "perssd.new"
    static let format = "perssd.format=1"
    static let formatPrefix = "perssd.format="
    static let thinPool: Set<String> = [mark, "perssd.kind=pool"]

    static func pool(_ name: String) -> String { "perssd.pool=\(escaped(name))" }
    static func group(_ pool: String) -> Set<String> { [mark, format, self.pool(pool)] }

    /// What a logical volume of ours is.
    enum Meaning: Sendable, Equatable {
        case thinPool
        case copy(CopyRecord)
        case cut(volume: String)
        case base(volume: String, generation: UInt64)
    }

    static func encode(_ meaning: Meaning) -> Set<String> {
        switch meaning {
        case .thinPool: return thinPool
        case .cut(let volume): return [mark, "perssd.kind=cut", "perssd.volume=\(volume)"]
        case .base(let volume, let generation):
            return [mark, "perssd.kind=base", "perssd.volume=\(volume)", "perssd.generation=\(generation)"]
        case .copy(let record):
            let tags: Set<String> = [
                mark, "perssd.kind=copy", "perssd.volume=\(record.volume)",
                "perssd.incarnation=\(escaped(record.incarnation))", "perssd.lineage=\(escaped(record.lineage))",
                "perssd.epoch=\(record.epoch)", "perssd.generation=\(record.generation)",
                "perssd.state=\(record.state.rawValue)", "perssd.size=\(record.sizeBytes)",
                "perssd.used=\(record.lastUsed)",
            ]
            return record.use == .volume ? tags : tags.union(["perssd.use=\(record.use.rawValue)"])
        }
    }

    static func isOurs(_ tags: Set<String>) -> Bool { tags.contains(mark) }

    /// The volume that the tags name, whatever else they say.
    static func volume(_ tags: Set<String>) -> String? {
        let names = tags.filter { $0.hasPrefix("perssd.volume=") }.map { String($0.dropFirst("perssd.volume=".count)) }
        guard names.count == 1, CopyName.isValid(names[0]) else { return nil }
        return names[0]
    }

    /// - Throws: `corrupt` where the tags of a volume of ours lack something, repeat it, or have what cannot be.
    static func decode(_ tags: Set<String>) throws -> Meaning {
        var fields: [String: String] = [:]
        for tag in tags where tag.hasPrefix("perssd.") {
            let pair = tag.dropFirst("perssd.".count).split(
                separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard pair.count == 2, fields.updateValue(String(pair[1]), forKey: String(pair[0])) == nil else {
                throw PerSSDError(.corrupt, "the tag '\(tag)' says nothing, or two tags say the same")
            }
        }
        let reader = Fields(fields: fields)
        let kind = try reader.text("kind")
        if kind == "pool" { return .thinPool }
        let volume = try reader.text("volume")
        guard CopyName.isValid(volume) else { throw reader.wrong("volume", volume) }
        switch kind {
        case "cut": return .cut(volume: volume)
        case "base": return .base(volume: volume, generation: try reader.number("generation"))
        case "copy":
            guard let state = CopyRecord.State(rawValue: try reader.text("state")) else {
                throw reader.wrong("state", try reader.text("state"))
            }
            guard let use = CopyRecord.Use(rawValue: fields["use"] ?? CopyRecord.Use.volume.rawValue) else {
                throw reader.wrong("use", try reader.text("use"))
            }
            return .copy(
                CopyRecord(
                    volume: volume, incarnation: try unescaped(try reader.text("incarnation")),
                    lineage: try unescaped(try reader.text("lineage")), epoch: try reader.number("epoch"),
                    generation: try reader.number("generation"), state: state, sizeBytes: try reader.number("size"),
                    lastUsed: try reader.number("used"), use: use))
        default: throw reader.wrong("kind", kind)
        }
    }

    private struct Fields {
        var fields: [String: String]

        func text(_ name: String) throws -> String {
            guard let text = fields[name] else { throw PerSSDError(.corrupt, "the tag perssd.\(name)=... is missing") }
            return text
        }

        func number<Number: FixedWidthInteger>(_ name: String) throws -> Number {
            let text = try text(name)
            guard let number = Number(text), String(number) == text else { throw wrong(name, text) }
            return number
        }

        func wrong(_ name: String, _ value: String) -> PerSSDError {
            PerSSDError(.corrupt, "the tag perssd.\(name) is '\(value.prefix(100))'")
        }
    }

    /// Of what a tag may hold, all but the '#' that escapes the rest as two hexadecimal digits a byte.
    private static func isPlain(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        default: "_+.-/=!:&".utf8.contains(byte)
        }
    }

    static func escaped(_ text: String) -> String {
        text.utf8.reduce(into: "") { result, byte in
            if isPlain(byte) {
                result.unicodeScalars.append(Unicode.Scalar(byte))
            } else {
                result += "#" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
            }
        }
    }

    static func unescaped(_ text: String) throws -> String {
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            if byte != UInt8(ascii: "#") {
                bytes.append(byte)
                continue
            }
            guard rest.count >= 2, let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16) else {
                throw PerSSDError(.corrupt, "'\(text.prefix(100))' is no text that a tag of PerSSD holds")
            }
            bytes.append(value)
            rest = rest.dropFirst(2)
        }
        guard let decoded = String(validating: bytes, as: UTF8.self) else {
            throw PerSSDError(.corrupt, "'\(text.prefix(100))' is no text that a tag of PerSSD holds")
        }
        return decoded
    }
}
