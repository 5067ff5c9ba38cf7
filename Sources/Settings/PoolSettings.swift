import Errors
import Units

/// A pool: what it is made of, and what StorageClasses call it.
public struct PoolSettings: Sendable, Equatable {
    public enum Kind: Sendable, Equatable {
        /// Image files below an absolute path; of their file system they may take `sizeBytes`, nil for all but a reserve for
        /// others.
        case images(directory: String, sizeBytes: UInt64?)
        case volumeGroup(VolumeGroupSettings)
    }

    public var name: String
    public var kind: Kind

    public init(name: String = Self.defaultName, kind: Kind) { (self.name, self.kind) = (name, kind) }

    public init(name: String = Self.defaultName, directory: String, sizeBytes: UInt64? = nil) {
        self.init(name: name, kind: .images(directory: directory, sizeBytes: sizeBytes))
    }

    /// Of a pool of image files.
    public var directory: String? {
        if case .images(let directory, _) = kind { return directory }
        return nil
    }

    /// Of a pool of logical volumes.
    public var volumeGroup: VolumeGroupSettings? {
        if case .volumeGroup(let group) = kind { return group }
        return nil
    }

    public static let defaultName = "default"
    /// The keys of a pool, on the command line and in the configuration file.
    public static let knownKeys = ["directory", "name", "size"] + VolumeGroupSettings.keys

    /// Reads "directory=/var/lib/perssd/pool,size=100GiB,name=default" or "volumeGroup=perssd,drives=all,create=true"; "dir"
    /// is short for "directory", and "vg" for "volumeGroup".
    ///
    /// - Throws: `invalidArgument` that names the source and what is wrong.
    public init(parsing given: Given) throws {
        var fields: [String: Given] = [:]
        for part in given.text.split(separator: ",", omittingEmptySubsequences: false) {
            let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard pair.count == 2 else {
                throw Self.refused(given, "'\(part.prefix(100))' is not of the form key=value")
            }
            let key = ["dir": "directory", "vg": "volumeGroup"][pair[0]] ?? String(pair[0])
            guard Self.knownKeys.contains(key) else {
                throw Self.refused(given, "'\(key.prefix(100))' is no key of a pool")
            }
            guard fields.updateValue(Given(String(pair[1]), from: given.source), forKey: key) == nil else {
                throw Self.refused(given, "'\(key)' is given twice")
            }
        }
        let drives = try fields.removeValue(forKey: "drives").map { try VolumeGroupSettings.drives($0) }
        try self.init(fields, drives: drives, in: given.source)
    }

    /// Reads an entry of the configuration file.
    init(_ section: ConfigurationSection) throws {
        var fields: [String: Given] = [:]
        for key in Self.knownKeys where key != "drives" { fields[key] = try section.scalar(key) }
        let drives = try section.section("drives", keys: VolumeGroupSettings.driveKeys).map {
            try VolumeGroupSettings.drives($0)
        }
        try self.init(fields, drives: drives, in: section.source)
    }

    /// - Parameter source: where a missing field is missing.
    private init(_ fields: [String: Given], drives: VolumeGroupSettings.Drives?, in source: String) throws {
        let name = try Self.checked(fields["name"]) ?? Self.defaultName
        if let group = fields["volumeGroup"] {
            for key in ["directory", "size"] {
                if let given = fields[key] { throw Self.refused(given, "\(key) does not go with a volume group") }
            }
            self.init(
                name: name,
                kind: .volumeGroup(
                    try VolumeGroupSettings(name: group, fields, drives: drives ?? VolumeGroupSettings.Drives())))
            return
        }
        guard let directory = fields["directory"] else {
            throw Self.refused(Given("", from: source), "the directory is missing, or the volume group")
        }
        for key in VolumeGroupSettings.keys where fields[key] != nil || key == "drives" && drives != nil {
            throw Self.refused(fields[key] ?? directory, "\(key) goes with a volume group alone")
        }
        guard directory.text.hasPrefix("/"), !directory.text.utf8.contains(0) else {
            throw Self.refused(directory, "the directory '\(directory.text.prefix(200))' is not an absolute path")
        }
        self.init(name: name, directory: directory.text, sizeBytes: try fields["size"].map(Self.bytes))
    }

    static func bytes(_ size: Given) throws -> UInt64 {
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

    static func refused(_ given: Given, _ reason: String) -> PerSSDError {
        PerSSDError(
            .invalidArgument, "\(given.source): \(reason)",
            remedy:
                "give a pool as directory=/absolute/path,size=100GiB,name=NAME (size and name may be left out), or as "
                + "volumeGroup=NAME; see docs/parameters.md")
    }
}
