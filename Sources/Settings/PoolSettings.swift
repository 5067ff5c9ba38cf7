import Errors
import Units

/// A pool of image files: where, how large, and what StorageClasses call it.
public struct PoolSettings: Sendable, Equatable {
    public var name: String
    /// An absolute path.
    public var directory: String
    /// What the pool may take of its file system, in bytes; nil for all but a reserve for others.
    public var sizeBytes: UInt64?

    public init(name: String = Self.defaultName, directory: String, sizeBytes: UInt64? = nil) {
        (self.name, self.directory, self.sizeBytes) = (name, directory, sizeBytes)
    }

    public static let defaultName = "default"
    /// The keys of a pool, on the command line and in the configuration file, with the value's meaning.
    public static let knownKeys = ["directory", "name", "size"]

    /// Reads "directory=/var/lib/perssd/pool,size=100GiB,name=default"; "dir" is short for "directory".
    ///
    /// - Throws: `invalidArgument` that names the source and what is wrong.
    public init(parsing given: Given) throws {
        var fields: [String: String] = [:]
        for part in given.text.split(separator: ",", omittingEmptySubsequences: false) {
            let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard pair.count == 2 else {
                throw Self.refused(given, "'\(part.prefix(100))' is not of the form key=value")
            }
            let key = pair[0] == "dir" ? "directory" : String(pair[0])
            guard Self.knownKeys.contains(key) else {
                throw Self.refused(given, "'\(key.prefix(100))' is no key of a pool")
            }
            guard fields.updateValue(String(pair[1]), forKey: key) == nil else {
                throw Self.refused(given, "'\(key)' is given twice")
            }
        }
        try self.init(
            name: fields["name"].map { Given($0, from: given.source) },
            directory: fields["directory"].map { Given($0, from: given.source) },
            size: fields["size"].map { Given($0, from: given.source) }, in: given.source)
    }

    /// - Parameter source: where a missing field is missing.
    init(name: Given?, directory: Given?, size: Given?, in source: String) throws {
        guard let directory else { throw Self.refused(Given("", from: source), "the directory is missing") }
        guard directory.text.hasPrefix("/"), !directory.text.utf8.contains(0) else {
            throw Self.refused(directory, "the directory '\(directory.text.prefix(200))' is not an absolute path")
        }
        self.init(
            name: try Self.checked(name) ?? Self.defaultName, directory: directory.text,
            sizeBytes: try size.map(Self.bytes))
    }

    private static func bytes(_ size: Given) throws -> UInt64 {
        guard let bytes = ByteCount(parsing: size.text)?.bytes, bytes > 0 else {
            throw refused(size, "'\(size.text.prefix(100))' is no size")
        }
        return bytes
    }

    private static func checked(_ name: Given?) throws -> String? {
        guard let name else { return nil }
        let isValid = name.text.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
                true
            default: false
            }
        }
        guard isValid, (1...63).contains(name.text.utf8.count), name.text.first != "." else {
            throw refused(
                name, "'\(name.text.prefix(100))' is no pool name: up to 63 letters, digits, '-', '_' and '.'")
        }
        return name.text
    }

    private static func refused(_ given: Given, _ reason: String) -> PerSSDError {
        PerSSDError(
            .invalidArgument, "\(given.source): \(reason)",
            remedy: "give a pool as directory=/absolute/path,size=100GiB,name=NAME; size and name may be left out")
    }
}
