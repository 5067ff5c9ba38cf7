import Errors

/// Reads what thin_delta(8) and thin_dump(8) print: XML of one element a line, of which only a few attributes matter.
enum ThinMetadata {
    /// The parts of two thin volumes that do not share their chunks, ascending and apart, in bytes.
    ///
    /// - Returns: nil where the output is not as the man page shows it.
    static func differences(_ output: [UInt8]) -> [Range<UInt64>]? {
        ranges(output, end: "</diff>") { name, attributes in
            switch name {
            case "different", "left_only", "right_only":
                return attributes("begin").flatMap { begin in attributes("length").map { (begin, $0) } }
            case "same", "diff": return (0, 0)
            default: return nil
            }
        }
    }

    /// The parts of a thin volume that have chunks.
    static func mappings(_ output: [UInt8]) -> [Range<UInt64>]? {
        ranges(output, end: "</device>") { name, attributes in
            switch name {
            case "range_mapping":
                return attributes("origin_begin").flatMap { begin in attributes("length").map { (begin, $0) } }
            case "single_mapping": return attributes("origin_block").map { ($0, 1) }
            case "device": return (0, 0)
            default: return nil
            }
        }
    }

    private static let sector: UInt64 = 512

    /// - Parameters:
    ///   - end: the element whose end has to be there, so that output that was cut off is not taken for a short list.
    ///   - read: the chunks of an element, none as a length of zero; nil for one that is not known.
    private static func ranges(
        _ output: [UInt8], end: String, _ read: (Substring, (String) -> UInt64?) -> (UInt64, UInt64)?
    ) -> [Range<UInt64>]? {
        var chunk: UInt64?
        var hasEnd = false
        var ranges: [Range<UInt64>] = []
        for bytes in output.split(separator: UInt8(ascii: "\n")) {
            let line = String(decoding: bytes, as: UTF8.self).drop { $0 == " " || $0 == "\t" }
            if line == end[...] { hasEnd = true }
            guard line.hasPrefix("<"), !line.hasPrefix("</") else {
                if line.isEmpty || line.hasPrefix("</") { continue }
                return nil
            }
            let name = line.dropFirst().prefix { $0 != " " && $0 != ">" && $0 != "/" }
            let attributes = { attribute($0, of: line) }
            if name == "superblock" {
                chunk = attributes("data_block_size").map { $0 * sector }
                continue
            }
            guard let chunk, chunk > 0, let (begin, length) = read(name, attributes) else { return nil }
            let (end, overflow) = begin.addingReportingOverflow(length)
            guard !overflow, end <= UInt64.max / chunk else { return nil }
            if length == 0 { continue }
            let range = begin * chunk..<end * chunk
            if let last = ranges.last {
                guard last.upperBound <= range.lowerBound else { return nil }
                if last.upperBound == range.lowerBound {
                    ranges[ranges.count - 1] = last.lowerBound..<range.upperBound
                    continue
                }
            }
            ranges.append(range)
        }
        return hasEnd ? ranges : nil
    }

    private static func attribute(_ name: String, of line: Substring) -> UInt64? {
        guard let start = line.range(of: " \(name)=\"")?.upperBound else { return nil }
        return UInt64(line[start...].prefix { $0 != "\"" })
    }
}
