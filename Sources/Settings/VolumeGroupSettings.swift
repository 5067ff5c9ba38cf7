import Errors
import Units

/// A pool of logical volumes: in which volume group, and how that is made.
public struct VolumeGroupSettings: Sendable, Equatable {
    public enum Layout: String, Sendable, CaseIterable {
        case linear, striped, raid1
    }

    /// Which drives the group is made of; all that is given has to hold.
    public struct Drives: Sendable, Equatable {
        public var paths: [String] = []
        public var model: String?
        public var serials: [String] = []
        /// In bytes.
        public var minimumSize: UInt64?
        public var maximumSize: UInt64?
        public var rotational: Bool?
        public var allEmptyNVMe = false

        public init(paths: [String] = [], allEmptyNVMe: Bool = false) {
            (self.paths, self.allEmptyNVMe) = (paths, allEmptyNVMe)
        }
    }

    public var name: String
    public var drives = Drives()
    public var layout = Layout.linear
    /// How many drives a striped pool is striped over; nil for all.
    public var stripes: Int?
    /// In bytes; nil to let the pool's size decide.
    public var chunkSize: UInt64?
    /// Whether a group that is not there is made.
    public var create = false
    public var overcommit = 1.0

    public init(name: String) { self.name = name }

    static let keys = ["volumeGroup", "drives", "layout", "stripes", "chunkSize", "create", "overcommit"]
    /// The keys below `drives` in the configuration file.
    public static let driveKeys = [
        "path", "model", "serial", "minimumSize", "maximumSize", "rotational", "allEmptyNVMe",
    ]

    init(name: Given, _ fields: [String: Given], drives: Drives) throws {
        guard (1...24).contains(name.text.utf8.count) else {
            throw PoolSettings.refused(name, "'\(name.text.prefix(100))' is no volume group: 1 to 24 bytes")
        }
        self.name = name.text
        self.drives = drives
        layout = try fields["layout"].map(Self.layout) ?? .linear
        stripes = try fields["stripes"].map { given in
            guard let stripes = Int(given.text), (2...128).contains(stripes) else {
                throw PoolSettings.refused(given, "'\(given.text.prefix(100))' is no number of stripes from 2 to 128")
            }
            return stripes
        }
        if let given = fields["stripes"], layout != .striped {
            throw PoolSettings.refused(given, "stripes go with the layout striped alone")
        }
        chunkSize = try fields["chunkSize"].map { given in
            let size = try PoolSettings.bytes(given)
            guard (64 << 10...1 << 30).contains(size), size.nonzeroBitCount == 1 else {
                throw PoolSettings.refused(given, "the chunk size is no power of two from 64KiB to 1GiB")
            }
            return size
        }
        create = try fields["create"].map(Self.boolean) ?? false
        overcommit =
            try fields["overcommit"].map { given in
                guard let factor = Double(given.text), (1...100).contains(factor) else {
                    throw PoolSettings.refused(
                        given, "'\(given.text.prefix(100))' is no overcommit factor from 1 to 100")
                }
                return factor
            } ?? 1
    }

    private static func layout(_ given: Given) throws -> Layout {
        guard let layout = Layout(rawValue: given.text) else {
            let known = Layout.allCases.map(\.rawValue).joined(separator: ", ")
            throw PoolSettings.refused(given, "'\(given.text.prefix(100))' is no layout: \(known)")
        }
        return layout
    }

    private static func boolean(_ given: Given) throws -> Bool {
        switch given.text {
        case "true": return true
        case "false": return false
        default: throw PoolSettings.refused(given, "'\(given.text.prefix(100))' is neither true nor false")
        }
    }

    /// As on the command line: "all" for all empty NVMe namespaces, or paths with ":" between them. Paths may have colons,
    /// too, so that only one before a slash counts.
    static func drives(_ given: Given) throws -> Drives {
        if given.text == "all" { return Drives(allEmptyNVMe: true) }
        var paths = given.text.replacing(":/", with: "\n/").split(separator: "\n").map(String.init)
        paths = try paths.map { try path(Given($0, from: given.source)) }
        guard !paths.isEmpty else { throw PoolSettings.refused(given, "no drive is named") }
        return Drives(paths: paths)
    }

    /// As in the configuration file.
    static func drives(_ section: ConfigurationSection) throws -> Drives {
        var drives = Drives(paths: try section.scalars("path").map(path))
        drives.model = try section.scalar("model")?.text
        drives.serials = try section.scalars("serial").map(\.text)
        drives.minimumSize = try section.scalar("minimumSize").map(PoolSettings.bytes)
        drives.maximumSize = try section.scalar("maximumSize").map(PoolSettings.bytes)
        drives.rotational = try section.scalar("rotational").map { given in
            // sysfs and lsblk have it as a number.
            try given.text == "0" ? false : given.text == "1" ? true : boolean(given)
        }
        drives.allEmptyNVMe = try section.scalar("allEmptyNVMe").map(boolean) ?? false
        return drives
    }

    private static func path(_ given: Given) throws -> String {
        guard given.text.hasPrefix("/dev/"), !given.text.utf8.contains(0) else {
            throw PoolSettings.refused(given, "the drive '\(given.text.prefix(200))' is no path below /dev")
        }
        return given.text
    }
}
