import Errors
import Glibc

/// Which Linux runs, as far as what it can do depends on that: "6.12.117+deb13-amd64" is 6.12.
public struct KernelRelease: Sendable, Comparable, CustomStringConvertible {
    public let major: Int
    public let minor: Int
    /// All that the kernel says, for people.
    public let description: String

    /// - Parameter text: as uname(2) gives it: two numbers with a dot between them, and whatever the distribution adds.
    /// - Throws: `unsupported` where it does not begin so.
    public init(parsing text: String) throws {
        let parts = text.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
        // No sign and no space, which `Int` may take.
        guard parts.count == 2, parts[0].utf8.allSatisfy(Self.isDigit), let major = Int(parts[0]),
            let minor = Int(parts[1].prefix { $0.utf8.allSatisfy(Self.isDigit) })
        else {
            throw PerSSDError(.unsupported, "the kernel's release '\(text.prefix(80))' tells no version")
        }
        (self.major, self.minor, description) = (major, minor, text)
    }

    /// For code that names a version.
    public init(_ major: Int, _ minor: Int) {
        (self.major, self.minor, description) = (major, minor, "\(major).\(minor)")
    }

    /// The kernel that runs this process.
    public static func current() throws -> KernelRelease {
        var name = utsname()
        try systemCall("ask for the kernel's release") { uname(&name) }
        let text = withUnsafeBytes(of: name.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        return try KernelRelease(parsing: text)
    }

    private static func isDigit(_ byte: UInt8) -> Bool { UInt8(ascii: "0")...UInt8(ascii: "9") ~= byte }

    public static func < (left: Self, right: Self) -> Bool { (left.major, left.minor) < (right.major, right.minor) }
    /// What the distribution adds makes no difference.
    public static func == (left: Self, right: Self) -> Bool { (left.major, left.minor) == (right.major, right.minor) }
}
