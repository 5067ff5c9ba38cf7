import CSI
import Errors

/// Which volume capabilities there are, and why the others are not.
public enum CapabilityRules {
    public static let fileSystems = ["ext4", "xfs", "btrfs"]
    /// What an empty `fs_type` means.
    public static let defaultFileSystem = "ext4"
    /// Bytes that a file system needs at the least: as LocalVolumes' `FileSystemKind` says, for the controller, which has no
    /// volumes of its own.
    public static let smallestVolumes: [String: Int64] = ["ext4": 16 << 20, "xfs": 300 << 20, "btrfs": 128 << 20]

    /// A list of capabilities that a call has to have.
    ///
    /// - Throws: `invalidArgument` where there is none, or one is malformed.
    public static func wellFormed(_ capabilities: [VolumeCapability]) throws {
        guard !capabilities.isEmpty else {
            throw PerSSDError(
                .invalidArgument, "volume_capabilities is missing", remedy: "give at least one volume capability")
        }
        for (index, capability) in capabilities.enumerated() {
            try wellFormed(capability, "volume_capabilities[\(index)]")
        }
    }

    /// - Throws: `invalidArgument` where something is missing, or is longer than it may be.
    public static func wellFormed(_ capability: VolumeCapability?, _ field: String) throws {
        guard let capability else {
            throw PerSSDError(.invalidArgument, "\(field) is missing", remedy: "give \(field)")
        }
        guard let mode = capability.accessMode?.mode, mode != .unknown else {
            throw PerSSDError(.invalidArgument, "\(field).access_mode is missing", remedy: "give an access mode")
        }
        switch capability.accessType {
        case nil:
            throw PerSSDError(.invalidArgument, "\(field) has no access_type", remedy: "give block or mount")
        case .block: break
        case .mount(let mount):
            try RequestChecks.optional(mount.fsType, "\(field).mount.fs_type")
            try RequestChecks.optional(mount.volumeMountGroup, "\(field).mount.volume_mount_group")
            let flags = mount.mountFlags
            guard flags.reduce(0, { $0 + $1.utf8.count }) <= RequestChecks.mapLimit else {
                throw PerSSDError(
                    .invalidArgument, "\(field).mount.mount_flags has more than \(RequestChecks.mapLimit) bytes")
            }
            for flag in flags {
                try RequestChecks.required(
                    flag, "an entry of \(field).mount.mount_flags", limit: RequestChecks.mapLimit)
            }
        }
    }

    /// - Throws: `invalidArgument` saying why, where one is not supported, or they contradict each other.
    public static func supported(_ capabilities: [VolumeCapability]) throws {
        for capability in capabilities { try supported(capability) }
        let types = Set(capabilities.compactMap { $0.fsType }.filter { !$0.isEmpty })
        guard types.count <= 1 else {
            throw PerSSDError(
                .invalidArgument,
                "volume_capabilities ask for several file systems: \(types.sorted().joined(separator: " and "))",
                remedy: "ask for one")
        }
    }

    /// - Throws: `invalidArgument` saying why, where a well-formed capability is not supported.
    public static func supported(_ capability: VolumeCapability) throws {
        if let mode = capability.accessMode?.mode {
            switch mode {
            case .singleNodeWriter, .singleNodeSingleWriter, .singleNodeMultiWriter, .singleNodeReaderOnly,
                .multiNodeReaderOnly:
                break
            case .multiNodeSingleWriter, .multiNodeMultiWriter, .unknown, .unrecognized:
                throw refused(
                    "access mode \(mode.name) is not supported: one node at a time can write a volume",
                    "use ReadWriteOnce or ReadWriteOncePod, or ReadOnlyMany for what is only read")
            }
        }
        guard case .mount(let mount) = capability.accessType else { return }
        guard mount.fsType.isEmpty || fileSystems.contains(mount.fsType) else {
            throw refused(
                "file system '\(mount.fsType)' is not supported",
                "use \(fileSystems.joined(separator: ", ")), or leave fs_type empty for the default")
        }
        guard mount.volumeMountGroup.isEmpty else {
            throw refused("volume_mount_group is not supported", "leave it to the orchestrator to change the group")
        }
    }

    /// That a new volume is of use to whoever has only these ways to publish it.
    ///
    /// - Parameter isClone: whether it is made of something that has contents.
    /// - Throws: `invalidArgument` where nobody could ever write it.
    public static func canBeFilled(_ capabilities: [VolumeCapability], isClone: Bool) throws {
        guard !isClone, capabilities.allSatisfy(\.isForManyReaders) else { return }
        throw refused(
            "a volume with access mode MULTI_NODE_READER_ONLY alone would stay empty, as nobody may write it",
            "make it of a snapshot or of another volume (dataSource), or ask for ReadWriteOnce besides")
    }

    /// Bytes that a volume with these capabilities has at the least; 0 where any size will do.
    public static func smallest(_ capabilities: [VolumeCapability]) -> Int64 {
        capabilities.compactMap { $0.fileSystem.flatMap { smallestVolumes[$0] } }.max() ?? 0
    }

    private static func refused(_ message: String, _ remedy: String) -> PerSSDError {
        PerSSDError(.invalidArgument, message, remedy: remedy)
    }
}

extension VolumeCapability {
    /// nil where it is no file system that is asked for.
    fileprivate var fsType: String? {
        guard case .mount(let mount) = accessType else { return nil }
        return mount.fsType
    }

    /// Whether many nodes may have the volume, each to read it from a local copy of its own.
    public var isForManyReaders: Bool { accessMode?.mode == .multiNodeReaderOnly }

    /// The file system that is asked for, by its name or as the default; nil for a raw device.
    public var fileSystem: String? {
        fsType.map { $0.isEmpty ? CapabilityRules.defaultFileSystem : $0 }
    }
}
