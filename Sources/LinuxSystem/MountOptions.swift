import CLinux
import Errors

/// How something is mounted: what holds for one mount, what holds for the file system, and what only its kind knows.
public struct MountOptions: Sendable, Equatable {
    /// A word, or a word with a value: "errors=remount-ro".
    public struct Parameter: Sendable, Equatable {
        public var key: String
        public var value: String?

        /// - Parameter text: as in "noatime" or "commit=30".
        init(_ text: String) {
            let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            (key, value) = (parts[0], parts.count > 1 ? parts[1] : nil)
        }

        init(key: String, value: String?) { (self.key, self.value) = (key, value) }
    }

    /// Bits of mount_setattr(2) to set, and those to clear first.
    private(set) var attributes: UInt64 = 0
    private(set) var clearedAttributes: UInt64 = 0
    /// For fsconfig(2), in the order given.
    private(set) var parameters: [Parameter] = []

    public init() {}

    /// From the form that mount(8) takes after `-o`: each text holds one option, or several with commas between.
    ///
    /// - Throws: `invalidArgument` for an option that could not mean what it says here. Those that only the file system can
    ///   know are judged by the kernel when it is mounted.
    public init(parsing texts: [String]) throws {
        for option in texts.flatMap({ $0.split(separator: ",", omittingEmptySubsequences: false) }) {
            try add(String(option))
        }
    }

    /// Whether nothing can be written through this mount.
    public var isReadOnly: Bool {
        get { attributes & UInt64(CLINUX_MOUNT_READ_ONLY.rawValue) != 0 }
        set { set(newValue ? "ro" : "rw") }
    }

    public mutating func add(_ option: String) throws {
        guard !option.isEmpty, option.utf8.count < 256, option.utf8.allSatisfy({ $0 > 32 && $0 != 127 }) else {
            throw PerSSDError(
                .invalidArgument, "the mount option '\(option.prefix(64))' is empty, too long, or has blanks in it",
                remedy: "give each option as in 'noatime' or 'commit=30'")
        }
        if option == "defaults" || set(option) { return }
        let parameter = Parameter(option)
        if let reason = Self.refused[parameter.key] {
            throw PerSSDError(
                .invalidArgument, "the mount option '\(option)' is refused: \(reason)", remedy: "leave it out")
        }
        parameters.append(parameter)
    }

    /// Adds an option of the file system's own that is PerSSD's to set, and perhaps nobody else's.
    public mutating func addOwn(_ option: String) { parameters.append(Parameter(option)) }

    private static let refused: [String: String] = [
        "bind": "how a volume is bound is PerSSD's part", "rbind": "how a volume is bound is PerSSD's part",
        "remount": "a volume is mounted anew", "move": "a volume is mounted anew",
        "loop": "the volume has a device already", "offset": "the volume has a device already",
        "sizelimit": "the volume has a device already",
        "logdev": "what lies on another device is not staged out",
        "rtdev": "what lies on another device is not staged out",
        "journal_dev": "what lies on another device is not staged out",
        "journal_path": "what lies on another device is not staged out",
        "device": "what lies on another device is not staged out",
        "source": "the volume has a device already",
        "subvol": "a volume is the whole of its file system", "subvolid": "a volume is the whole of its file system",
    ]

    /// One of the options that every mount knows; it takes the place of its opposite.
    ///
    /// - Returns: whether it is one.
    @discardableResult
    private mutating func set(_ option: String) -> Bool {
        guard let meaning = Self.known[option] else { return false }
        let bits = UInt64(meaning.bits.rawValue)
        let value = meaning.isSet ? UInt64((meaning.value ?? meaning.bits).rawValue) : 0
        attributes = attributes & ~bits | value
        clearedAttributes |= bits
        if meaning.isForFileSystem {
            parameters.removeAll { $0.key == "ro" || $0.key == "rw" }
            parameters.append(Parameter(key: option, value: nil))
        }
        return true
    }

    private struct Meaning: Sendable {
        var bits: clinux_mount_attributes
        var isSet = true
        /// Of several bits, those that are set.
        var value: clinux_mount_attributes?
        var isForFileSystem = false
    }

    // "sync", "dirsync", "lazytime" and their opposites need no entry: fsconfig(2) takes them as they are.
    private static let known: [String: Meaning] = [
        "ro": Meaning(bits: CLINUX_MOUNT_READ_ONLY, isForFileSystem: true),
        "rw": Meaning(bits: CLINUX_MOUNT_READ_ONLY, isSet: false, isForFileSystem: true),
        "nosuid": Meaning(bits: CLINUX_MOUNT_NO_SUID), "suid": Meaning(bits: CLINUX_MOUNT_NO_SUID, isSet: false),
        "nodev": Meaning(bits: CLINUX_MOUNT_NO_DEVICES), "dev": Meaning(bits: CLINUX_MOUNT_NO_DEVICES, isSet: false),
        "noexec": Meaning(bits: CLINUX_MOUNT_NO_EXECUTE), "exec": Meaning(bits: CLINUX_MOUNT_NO_EXECUTE, isSet: false),
        "noatime": Meaning(bits: CLINUX_MOUNT_ATIME_MASK, value: CLINUX_MOUNT_NO_ATIME),
        "relatime": Meaning(bits: CLINUX_MOUNT_ATIME_MASK, value: CLINUX_MOUNT_RELATIVE_ATIME),
        "atime": Meaning(bits: CLINUX_MOUNT_ATIME_MASK, value: CLINUX_MOUNT_RELATIVE_ATIME),
        "strictatime": Meaning(bits: CLINUX_MOUNT_ATIME_MASK, value: CLINUX_MOUNT_STRICT_ATIME),
        "nodiratime": Meaning(bits: CLINUX_MOUNT_NO_DIRECTORY_ATIME),
        "diratime": Meaning(bits: CLINUX_MOUNT_NO_DIRECTORY_ATIME, isSet: false),
        "nosymfollow": Meaning(bits: CLINUX_MOUNT_NO_SYMLINKS),
        "symfollow": Meaning(bits: CLINUX_MOUNT_NO_SYMLINKS, isSet: false),
    ]
}
