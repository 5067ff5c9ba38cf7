import Digests
import Errors
import Foundation

/// A JSON object in the bucket that says what it is: its format's name and version come with it.
///
/// Every version reads what it knows and refuses the rest by name; keys that a version does not know are additions of a
/// later one that it may ignore.
protocol Record: Codable, Sendable {
    /// "perssd-head" and the like.
    static var format: String { get }
    static var currentVersion: Int { get }
}

private struct RecordLabel: Codable {
    var format: String
    var version: Int
}

/// What is written: the label beside the record's own keys.
private struct Labelled<Body: Record>: Encodable {
    var body: Body

    func encode(to encoder: any Encoder) throws {
        try body.encode(to: encoder)
        try RecordLabel(format: Body.format, version: Body.currentVersion).encode(to: encoder)
    }
}

extension Record {
    /// Keys sorted, so that the same record is always the same bytes; indented, so that people can read the bucket.
    func encoded() throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
        encoder.dateEncodingStrategy = .iso8601
        do {
            return [UInt8](try encoder.encode(Labelled(body: self)))
        } catch {
            throw PerSSDError(.internal, "cannot write a \(Self.format) record as JSON", cause: error)
        }
    }

    /// - Throws: `corrupt` where the bytes are no such record; `unsupported` where its version is not known here.
    init(decoding bytes: [UInt8], from key: ObjectKey) throws {
        let decoder = JSONDecoder()
        decoder.dateDecodingStrategy = .iso8601
        let data = Data(bytes)
        let label: RecordLabel
        do {
            label = try decoder.decode(RecordLabel.self, from: data)
        } catch {
            throw PerSSDError(
                .corrupt, "object \(key) is no PerSSD record: it has no format and version",
                remedy: "restore the object from a backup or an older version of it", cause: error)
        }
        guard label.format == Self.format else {
            throw PerSSDError(
                .corrupt, "object \(key) is a '\(label.format.prefix(80))' where a '\(Self.format)' belongs",
                remedy: "restore the object from a backup or an older version of it")
        }
        guard (1...Self.currentVersion).contains(label.version) else {
            throw PerSSDError(
                .unsupported,
                "object \(key) has version \(label.version) of \(Self.format), and this PerSSD knows versions up to "
                    + "\(Self.currentVersion)",
                remedy: "upgrade PerSSD here to the version that wrote it")
        }
        do {
            self = try decoder.decode(Self.self, from: data)
        } catch let error as PerSSDError {
            // A part of the record knows better what is wrong: a version or kind from the future is no damage.
            throw error.during("object \(key) cannot be used")
        } catch {
            throw PerSSDError(
                .corrupt, "object \(key) is damaged",
                remedy: "restore the object from a backup or an older version of it", cause: error)
        }
    }
}
