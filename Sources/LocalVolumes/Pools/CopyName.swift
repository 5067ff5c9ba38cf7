import Errors

/// What a local copy is called by: its volume's id, which has to have this form before it becomes part of any path.
public enum CopyName {
    public static let maximumLength = 64

    /// - Throws: `invalidArgument` where `text` is empty, over 64 bytes, or has anything but `a-z`, `0-9` and `-`.
    public static func validate(_ text: String) throws {
        guard isValid(text) else {
            throw PerSSDError(
                .invalidArgument, "'\(text.prefix(100))' is not the id of a volume",
                remedy: "an id has 1 to \(maximumLength) of the characters a-z, 0-9 and '-'")
        }
    }

    public static func isValid(_ text: some StringProtocol) -> Bool {
        (1...maximumLength).contains(text.utf8.count)
            && text.utf8.allSatisfy { byte in
                (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
                    || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || byte == UInt8(ascii: "-")
            }
    }
}
