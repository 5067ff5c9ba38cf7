import Errors
import LinuxSystem

/// What logical volumes are called. Tags say what one is; its name is for people, and has to be free.
enum LVMNames {
    static let thinPool = "perssd"

    /// Device-mapper's names, of a group and a volume together, have at most 127 bytes, hyphens counted twice.
    static let longestGroup = 24

    /// Hyphens become dots, which no id has: neither are they doubled, nor can the name hold what LVM reserves ("_tmeta").
    static func copy(_ volume: String) -> String { "copy." + dotted(volume) }

    /// A name that no other has, because a cut becomes a base by its tags alone.
    static func snapshot(_ volume: String) -> String {
        "snap.\(dotted(volume)).\(DurableFile.randomName().prefix(8))"
    }

    private static func dotted(_ volume: String) -> String { volume.replacing("-", with: ".") }

    /// What device-mapper calls a logical volume: hyphens inside of names are doubled.
    static func deviceMapperName(_ group: String, _ volume: String, layer: String = "") -> String {
        group.replacing("-", with: "--") + "-" + volume.replacing("-", with: "--") + layer
    }

    /// - Throws: `invalidArgument` where a volume group cannot have the name.
    static func validateGroup(_ name: String) throws {
        let isValid = name.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
                true
            default: false
            }
        }
        guard isValid, (1...longestGroup).contains(name.utf8.count), !["-", "."].contains(name.first) else {
            throw PerSSDError(
                .invalidArgument, "'\(name.prefix(100))' cannot be the name of a pool's volume group",
                remedy: "use 1 to \(longestGroup) letters, digits, '-', '_' and '.', and begin with neither '-' nor '.'"
            )
        }
    }
}
