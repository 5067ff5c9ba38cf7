import Foundation

/// Rows in aligned columns, for people.
struct Table {
    enum Alignment { case left, right }

    private var rows: [[String]] = []
    private let columns: [(title: String, alignment: Alignment)]

    init(_ columns: [(title: String, alignment: Alignment)]) { self.columns = columns }

    mutating func add(_ row: [String]) {
        precondition(row.count == columns.count)
        // What comes from the bucket must not write to the terminal what it likes.
        rows.append(row.map(printable))
    }

    /// With a line of titles; no white space at the ends of lines.
    var text: String {
        let all = [columns.map(\.title)] + rows
        let widths = columns.indices.map { column in all.map { $0[column].count }.max() ?? 0 }
        return all.map { row in
            var line = ""
            for (column, cell) in row.enumerated() {
                let padding = String(repeating: " ", count: widths[column] - cell.count)
                line += columns[column].alignment == .right ? padding + cell : cell + padding
                if column + 1 < row.count { line += "  " }
            }
            while line.last == " " { line.removeLast() }
            return line
        }.joined(separator: "\n")
    }
}

/// The text with control characters made visible as question marks.
func printable(_ text: String) -> String {
    String(
        String.UnicodeScalarView(
            text.unicodeScalars.map { $0.properties.generalCategory == .control ? "?" : $0 }))
}

/// What a command puts out: lines for people, or one JSON document for scripts.
enum Output {
    static func line(_ text: String) {
        // Where nobody reads any more there is nothing left to do.
        try? FileHandle.standardOutput.write(contentsOf: Data((text + "\n").utf8))
    }

    static func note(_ text: String) {
        try? FileHandle.standardError.write(contentsOf: Data((text + "\n").utf8))
    }

    /// Names and values in two columns, for people.
    static func fields(_ fields: [(name: String, value: String)]) -> String {
        let width = fields.map { $0.name.count + 2 }.max() ?? 0
        return fields.map { "\($0.name):".padding(to: width) + printable($0.value) }.joined(separator: "\n")
    }

    /// Keys sorted, times in ISO 8601.
    static func json(_ value: some Encodable) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
        encoder.dateEncodingStrategy = .iso8601
        line(String(decoding: try encoder.encode(value), as: UTF8.self))
    }

    /// "2026-03-01 12:34:56", in UTC.
    static func time(_ date: Date) -> String {
        let text = date.formatted(Date.ISO8601FormatStyle())
        return text.replacing("T", with: " ").replacing("Z", with: "")
    }
}
