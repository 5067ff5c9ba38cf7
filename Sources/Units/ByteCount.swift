/// A number of bytes, for people: "12.3 GiB".
public struct ByteCount: Sendable, Hashable, CustomStringConvertible {
    public var bytes: UInt64

    public init(_ bytes: UInt64) { self.bytes = bytes }
    public init(_ bytes: Int) { self.bytes = UInt64(max(0, bytes)) }

    private static let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]

    /// Whole bytes below 1 KiB, one decimal place above.
    public var description: String {
        var unit = 0
        var divisor: UInt64 = 1
        while unit + 1 < Self.units.count, bytes / divisor >= 1024 {
            divisor *= 1024
            unit += 1
        }
        guard unit > 0 else { return "\(bytes) B" }
        var whole = bytes / divisor
        var tenths = (bytes % divisor * 10 + divisor / 2) / divisor
        if tenths == 10 { (whole, tenths) = (whole + 1, 0) }
        return "\(whole).\(tenths) \(Self.units[unit])"
    }

    /// Reads "1073741824", "100Gi", "100GiB", "100G" (decimal) and the like.
    ///
    /// - Returns: nil where the text is no size, or is 2^64 bytes or more.
    public init?(parsing text: String) {
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        guard let number = UInt64(digits) else { return nil }
        var suffix = text.dropFirst(digits.count).drop { $0 == " " }
        if suffix.hasSuffix("B") { suffix = suffix.dropLast() }
        let letters = ["", "K", "M", "G", "T", "P", "E"]
        let base: UInt64 = suffix.hasSuffix("i") ? 1024 : 1000
        let letter = base == 1024 ? suffix.dropLast() : suffix
        guard let power = letters.firstIndex(of: letter.uppercased()), !(base == 1024 && power == 0) else { return nil }
        var product = number
        for _ in 0..<power {
            let (value, overflow) = product.multipliedReportingOverflow(by: base)
            if overflow { return nil }
            product = value
        }
        bytes = product
    }
}
