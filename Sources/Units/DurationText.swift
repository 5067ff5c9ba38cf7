extension Duration {
    /// For people: "0.4 s", "12 s", "3 min 20 s", "2 h 5 min".
    public var text: String {
        let seconds = Double(components.seconds) + Double(components.attoseconds) / 1e18
        if seconds < 9.95 { return "\((seconds * 10).rounded() / 10) s" }
        let whole = Int(seconds.rounded())
        if whole < 60 { return "\(whole) s" }
        if whole < 3600 { return "\(whole / 60) min \(whole % 60) s" }
        return "\(whole / 3600) h \(whole % 3600 / 60) min"
    }

    /// Reads "250ms", "30s", "10m", "2h".
    ///
    /// - Returns: nil where the text is no duration.
    public init?(parsing text: String) {
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        guard let number = Int64(digits), number <= Int64.max / 3600 else { return nil }
        switch text.dropFirst(digits.count) {
        case "ms": self = .milliseconds(number)
        case "s": self = .seconds(number)
        case "m", "min": self = .seconds(number * 60)
        case "h": self = .seconds(number * 3600)
        default: return nil
        }
    }
}
