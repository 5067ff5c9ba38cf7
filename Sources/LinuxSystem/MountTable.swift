import Errors
import SystemPackage

/// What is mounted where, in the mount namespace of this process (proc_pid_mountinfo(5)).
public struct MountTable: Sendable {
    public struct Entry: Sendable, Equatable {
        public var id: Int
        public var parent: Int
        /// Of the file system, as stat(2) shows it for most.
        public var device: DeviceNumber
        /// Which part of the file system is mounted: "/" for all of it, "/loop3" for a device node that is bound.
        public var root: FilePath
        public var mountPoint: FilePath
        /// Of this mount: "rw,nosuid,relatime".
        public var options: Set<String>
        public var fileSystemType: String
        public var source: String
        /// Of the file system, for all its mounts.
        public var superOptions: Set<String>

        public var isReadOnly: Bool { options.contains("ro") || superOptions.contains("ro") }

        /// Whether it is the file system of this block device. A btrfs may lie on several devices, so it has a number that
        /// is no device's, and tells one of its devices as the source.
        public func isFileSystem(of number: DeviceNumber) -> Bool {
            guard fileSystemType == "btrfs" else { return device == number }
            let status = (try? FileStatus.of(FilePath(source))).flatMap { $0 }
            return status?.kind == .blockDevice && status?.deviceNumber == number
        }
    }

    /// In the order of mounting: of two at one place, the later one hides the earlier.
    public let entries: [Entry]

    public static func current() throws -> MountTable {
        // A table of thousands of pods' mounts stays below this limit.
        guard let bytes = try DurableFile.read("/proc/self/mountinfo", limit: 64 << 20) else {
            throw PerSSDError(.internal, "there is no /proc/self/mountinfo", remedy: "mount proc on /proc")
        }
        return try MountTable(parsing: String(decoding: bytes, as: UTF8.self))
    }

    /// - Throws: `internal` where a line is not as proc_pid_mountinfo(5) says.
    public init(parsing text: String) throws {
        entries = try text.split(separator: "\n").map { line in
            guard let entry = Self.entry(line) else {
                throw PerSSDError(.internal, "/proc/self/mountinfo has a line of no known form: '\(line)'")
            }
            return entry
        }
    }

    private static func entry(_ line: Substring) -> Entry? {
        let fields = line.split(separator: " ", omittingEmptySubsequences: false)
        guard fields.count >= 10, let separator = fields[6...].firstIndex(of: "-"), fields.count >= separator + 4,
            let id = Int(fields[0]), let parent = Int(fields[1]), let device = DeviceNumber(parsing: fields[2])
        else { return nil }
        return Entry(
            id: id, parent: parent, device: device,
            root: FilePath(unescaped(fields[3])), mountPoint: FilePath(unescaped(fields[4])),
            options: Set(fields[5].split(separator: ",").map(String.init)),
            fileSystemType: unescaped(fields[separator + 1]), source: unescaped(fields[separator + 2]),
            superOptions: Set(fields[separator + 3].split(separator: ",").map(String.init)))
    }

    /// Spaces, tabs, newlines, hashes and backslashes are written as a backslash and three octal digits.
    static func unescaped(_ field: Substring) -> String {
        guard field.utf8.contains(UInt8(ascii: "\\")) else { return String(field) }
        var bytes: [UInt8] = []
        var rest = Array(field.utf8)[...]
        while let byte = rest.popFirst() {
            let digits = rest.prefix(3)
            let value = digits.reduce(0) { $0 * 8 + Int($1 &- UInt8(ascii: "0")) }
            let isOctal =
                digits.count == 3 && digits.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "7")).contains($0) }
            if byte == UInt8(ascii: "\\"), isOctal, value < 256 {
                bytes.append(UInt8(value))
                rest = rest.dropFirst(3)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// What is seen at `path`; nil where nothing is mounted right there.
    public func top(at path: FilePath) -> Entry? { entries.last { $0.mountPoint == path } }
}
