import Glibc

/// A line of /proc/self/mountinfo (proc(5)), as far as locking goes.
struct MountedFileSystem: Equatable {
    /// "8:1"
    var device: String
    /// "nfs4", "lustre", "ext4"
    var type: String
    var options: Set<String>

    init?(mountinfo line: Substring) {
        // Optional fields of any number stand before the lone hyphen.
        let fields = line.split(separator: " ")
        guard let hyphen = fields.firstIndex(of: "-"), hyphen >= 6, fields.count > hyphen + 3 else { return nil }
        device = String(fields[2])
        type = String(fields[hyphen + 1])
        options = Set((fields[5].split(separator: ",") + fields[hyphen + 3].split(separator: ",")).map(String.init))
    }

    /// The file system with this device number; nil where the kernel does not list it.
    static func holding(device: dev_t) -> MountedFileSystem? {
        guard let table = readTable() else { return nil }
        // makedev(3): both numbers are split, for the sake of old ones of 16 bits.
        let major = (device >> 8) & 0xfff | (device >> 32) & ~0xfff
        let minor = device & 0xff | (device >> 12) & 0xfff00
        let name = "\(major):\(minor)"
        return table.split(separator: "\n").lazy.compactMap { MountedFileSystem(mountinfo: $0) }
            .first { $0.device == name }
    }

    /// Why locks on it do not hold between hosts; nil where nothing is known against it.
    ///
    /// Sources: mount.lustre(8) (`flock`, `localflock`, and none at all without either), nfs(5) (`nolock`, `local_lock`).
    var lockingProblem: String? {
        switch type {
        case "lustre":
            if options.contains("localflock") {
                return "Lustre is mounted with localflock, so locks hold on one host only"
            }
            return options.contains("flock") ? nil : "Lustre is mounted without flock, so files cannot be locked"
        case "nfs", "nfs4":
            let local = ["nolock", "local_lock=all", "local_lock=posix"].first { options.contains($0) }
            return local.map { "NFS is mounted with \($0), so locks hold on one host only" }
        default:
            return nil
        }
    }

    private static func readTable() -> String? {
        let number = uninterrupted { open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC) }
        guard number >= 0 else { return nil }
        let descriptor = Descriptor(taking: number)
        var text: [UInt8] = []
        // A file of /proc has no size and gives at most a page or so at a time.
        while true {
            let piece = [UInt8](unsafeUninitializedCapacity: 65536) { buffer, count in
                count = max(0, uninterrupted { read(descriptor.number, buffer.baseAddress!, buffer.count) })
            }
            if piece.isEmpty { return String(decoding: text, as: UTF8.self) }
            text += piece
        }
    }
}
