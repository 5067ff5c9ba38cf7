import CSI
import CSIRules
import Errors
import LocalVolumes
import Persistence
import Units

/// What a pod's description says of an ephemeral volume, checked and with its defaults.
struct EphemeralAttributes: Sendable {
    var pool: String
    var sizeBytes: UInt64
    var fileSystem: String
    var settings: FileSystemSettings

    /// The attributes that there are, for errors and documentation.
    static let knownKeys = ["fsType", "inodeRatio", "journalSize", "pool", "reservedBlocksPercent", "size"]

    /// Whether a volume context asks for an ephemeral volume.
    static func areIn(_ context: [String: String]) -> Bool {
        context[Driver.PodInfoKey.ephemeral] == "true"
    }

    /// - Throws: `invalidArgument` naming the attribute, what it holds, and what it may hold.
    init(_ context: [String: String], _ capability: VolumeCapability) throws {
        guard case .mount(let mount) = capability.accessType else {
            throw PerSSDError(
                .invalidArgument, "an ephemeral volume has a file system, and a raw device is asked for",
                remedy: "use a claim with volumeMode Block")
        }
        guard !capability.isForManyReaders else {
            throw PerSSDError(
                .invalidArgument, "an ephemeral volume begins empty, and is not for many nodes to read",
                remedy: "use access mode SINGLE_NODE_WRITER")
        }
        var attributes = context.filter { !$0.key.hasPrefix(Driver.PodInfoKey.prefix) }
        if let unknown = attributes.keys.sorted().first(where: { !Self.knownKeys.contains($0) }) {
            throw PerSSDError(
                .invalidArgument, "unknown attribute '\(unknown.prefix(100))' of an ephemeral volume",
                remedy: "the known ones are \(Self.knownKeys.joined(separator: ", "))")
        }
        fileSystem = try Self.fileSystem(attributes.removeValue(forKey: "fsType"), mount.fsType)
        sizeBytes = try Self.size(attributes.removeValue(forKey: "size"), for: fileSystem)
        let parameters: VolumeParameters
        do {
            parameters = try VolumeParameters(parsing: attributes)
            try parameters.checkFileSystem(fileSystem, capacityBytes: sizeBytes)
        } catch let error as PerSSDError {
            throw error.during("the attributes of an ephemeral volume cannot be used")
        }
        pool = parameters.pool
        settings = FileSystemSettings(parameters)
    }

    private static func fileSystem(_ attribute: String?, _ requested: String) throws -> String {
        guard let attribute else { return requested.isEmpty ? CapabilityRules.defaultFileSystem : requested }
        guard CapabilityRules.fileSystems.contains(attribute) else {
            throw refused("fsType", attribute, "one of \(CapabilityRules.fileSystems.joined(separator: ", "))")
        }
        guard requested.isEmpty || requested == attribute else {
            throw refused("fsType", attribute, "'\(requested)', as beside the attributes, or leave one of the two out")
        }
        return attribute
    }

    private static func size(_ attribute: String?, for fileSystem: String) throws -> UInt64 {
        guard let attribute else { return VolumeSize.default }
        guard let size = ByteCount(parsing: attribute)?.bytes, size > 0, size <= VolumeSize.largest else {
            throw refused("size", attribute, "a size up to 16Ti, such as 100Gi")
        }
        let least = CapabilityRules.smallestVolumes[fileSystem] ?? 0
        return try VolumeSize.choose(required: max(Int64(size), least), limit: 0)
    }

    private static func refused(_ key: String, _ value: String, _ wanted: String) -> PerSSDError {
        PerSSDError(
            .invalidArgument, "volume attribute \(key) is '\(value.prefix(100))'", remedy: "give \(wanted)")
    }
}
