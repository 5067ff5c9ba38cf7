import Foundation
import Logging

/// Writes each event as one line to standard error, whole lines at a time, so that threads do not mix theirs.
struct LineLogHandler: LogHandler {
    var metadata: Logger.Metadata = [:]
    var metadataProvider: Logger.MetadataProvider?
    private let threshold: LogThreshold
    /// Of this logger alone, where somebody has set it.
    private var ownLevel: Logger.Level?
    private let label: String
    private let format: LogSettings.Format
    private let write: @Sendable (String) -> Void

    init(
        label: String, threshold: LogThreshold, format: LogSettings.Format,
        write: @escaping @Sendable (String) -> Void = Self.writeToStandardError
    ) {
        (self.label, self.threshold, self.format, self.write) = (label, threshold, format, write)
    }

    var logLevel: Logger.Level {
        get { ownLevel ?? threshold.level }
        set { ownLevel = newValue }
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        var all = metadata
        if let provided = metadataProvider?.get() { all.merge(provided) { _, new in new } }
        if let given = event.metadata { all.merge(given) { _, new in new } }
        let fields = all.sorted { $0.key < $1.key }.map { ($0.key, "\($0.value)") }
        let time = Date().formatted(Self.timeStyle)
        switch format {
        case .text: write(Self.textLine(time, event.level, "\(event.message)", fields))
        case .json: write(Self.jsonLine(time, event.level, label, "\(event.message)", fields))
        }
    }

    private static let timeStyle = Date.ISO8601FormatStyle(includingFractionalSeconds: true)

    static func textLine(
        _ time: String, _ level: Logger.Level, _ message: String, _ fields: [(key: String, value: String)]
    ) -> String {
        var line = "\(time) \(level.rawValue.uppercased()) \(oneLine(message))"
        for (key, value) in fields {
            let isPlain = !value.isEmpty && value.utf8.allSatisfy { (0x21...0x7e).contains($0) && $0 != 0x22 }
            line += " \(key)=\(isPlain ? value : quoted(value))"
        }
        return line + "\n"
    }

    static func jsonLine(
        _ time: String, _ level: Logger.Level, _ label: String, _ message: String,
        _ fields: [(key: String, value: String)]
    ) -> String {
        var line = "{\"time\":\(quoted(time)),\"level\":\(quoted(level.rawValue)),\"logger\":\(quoted(label))"
        line += ",\"message\":\(quoted(message))"
        for (key, value) in fields {
            // What comes with the event keeps its name, and the four above stay what they are.
            let name = ["time", "level", "logger", "message"].contains(key) ? "field.\(key)" : key
            line += ",\(quoted(name)):\(quoted(value))"
        }
        return line + "}\n"
    }

    private static func oneLine(_ text: String) -> String {
        text.unicodeScalars.contains { $0.value < 0x20 || $0.value == 0x7f }
            ? String(quoted(text).dropFirst().dropLast()) : text
    }

    /// A JSON string (RFC 8259, section 7).
    static func quoted(_ text: String) -> String {
        var quoted = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": quoted += "\\\""
            case "\\": quoted += "\\\\"
            case "\n": quoted += "\\n"
            case "\r": quoted += "\\r"
            case "\t": quoted += "\\t"
            case _ where scalar.value < 0x20 || scalar.value == 0x7f:
                let digits = String(scalar.value, radix: 16)
                quoted += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: quoted.unicodeScalars.append(scalar)
            }
        }
        return quoted + "\""
    }

    private static func writeToStandardError(_ line: String) {
        // Where standard error is gone there is nowhere left to say so.
        var bytes = [UInt8](line.utf8)[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes { Foundation.write(STDERR_FILENO, $0.baseAddress, $0.count) }
            if count < 0 {
                if errno == EINTR { continue }
                return
            }
            bytes = bytes.dropFirst(count)
        }
    }
}
