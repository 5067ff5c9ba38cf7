import Errors
import LinuxSystem
import LocalVolumes
import Persistence
import SystemPackage

/// File systems: made at the first use, mounted, and shown to pods.
extension LocalVolumeWork {
    func format(_ access: Publication.Access, _ volume: VolumeRecord) async throws {
        guard case .mount(let type, _) = access else { return }
        let parameters = volume.parameters
        try parameters.checkFileSystem(type, capacityBytes: volume.capacityBytes)
        try await environment.fileSystems.make(
            FileSystemKind(parsing: type), on: try await attach(),
            settings: FileSystemSettings(parameters))
    }

    func mount(_ publication: Publication, progress: WorkProgress) async throws {
        let publisher = environment.publisher
        let device = try await attach()
        switch publication.access {
        case .mount(let type, let flags):
            let kind = try FileSystemKind(parsing: type)
            var options = try MountOptions(parsing: flags ?? [])
            if copy?.state == .dirty {
                try await stage(kind, on: device, options: options, progress: progress)
            } else {
                options.isReadOnly = true
                try await stageUnwritten(kind, on: device, options: options, progress: progress)
            }
            try await publisher.publish(volume.rawValue, at: publication.path, readOnly: publication.isReadOnly)
        case .block:
            try await publisher.publishDevice(device, at: publication.path, readOnly: publication.isReadOnly)
        }
    }

    private func stage(
        _ kind: FileSystemKind, on device: FilePath, options: MountOptions, progress: WorkProgress
    ) async throws {
        let (publisher, fileSystems) = (environment.publisher, environment.fileSystems)
        var grows = false
        if try await publisher.stagedPath(of: volume.rawValue) == nil {
            try await fileSystems.prepareForMount(kind, on: device)
            if !options.isReadOnly {
                if isFreshClone { try await fileSystems.renewUUID(of: kind, on: device) }
                grows = try await fileSystems.canGrow(kind, on: device)
            }
        }
        // The volume was expanded since its file system was made, or last grew. ext4 can do it now, the others mounted.
        if grows { progress.enter("growing the \(kind.rawValue)") }
        if grows, kind == .ext4 { try await fileSystems.grow(kind, on: device, mountedAt: nil) }
        let path = try await publisher.stage(volume.rawValue, device: device, kind: kind, options: options)
        if grows, kind != .ext4 { try await fileSystems.grow(kind, on: device, mountedAt: path) }
    }

    /// What nobody here may write stays the generation that it is, to the last bit. Where its journal has to be replayed, as
    /// after a cut that was made under a pod, the copy is no generation from then on, and its record says so first.
    private func stageUnwritten(
        _ kind: FileSystemKind, on device: FilePath, options: MountOptions, progress: WorkProgress
    ) async throws {
        let (publisher, fileSystems) = (environment.publisher, environment.fileSystems)
        if copy?.state == .clean, try await publisher.stagedPath(of: volume.rawValue) == nil {
            let isWhole = try await !fileSystems.mustBeWritten(kind, on: device)
            if isWhole,
                try await publisher.stageUnchanged(volume.rawValue, device: device, kind: kind, options: options)
            {
                return
            }
            progress.enter("replaying the journal of the \(kind.rawValue)")
            try await update { $0.state = .recovered }
            try await fileSystems.prepareForMount(kind, on: device)
        }
        _ = try await publisher.stage(volume.rawValue, device: device, kind: kind, options: options)
    }

    /// Whether nothing but its origin has ever been committed: the copy may have a twin on this node.
    private var isFreshClone: Bool {
        memory.withLock { $0.head?.value.newest.map { $0.volume != volume } ?? false }
    }
}

extension FileSystemSettings {
    /// What a volume's parameters say of how its file system is made.
    init(_ parameters: VolumeParameters) {
        self.init(
            bytesPerInode: parameters.inodeRatio, reservedPercent: parameters.reservedBlocksPercent,
            journalBytes: parameters.journalSize)
    }
}
