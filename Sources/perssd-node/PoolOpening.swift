import LocalVolumes
import Logging
import Settings
import SystemPackage

/// Opens what the settings describe.
enum PoolOpening {
    static func open(_ settings: PoolSettings, logger: Logger) async throws -> any VolumePool {
        switch settings.kind {
        case .images(let directory, let size):
            return try await ImagePool.open(
                name: settings.name, directory: FilePath(directory), options: ImagePool.Options(size: size),
                logger: logger)
        case .volumeGroup(let group):
            return try await LVMPool.open(name: settings.name, options: options(group), logger: logger)
        }
    }

    private static func options(_ group: VolumeGroupSettings) -> LVMPool.Options {
        let drives = group.drives
        let layout: LVMPool.Layout =
            switch group.layout {
            case .linear: .linear
            case .striped: .striped
            case .raid1: .raid1
            }
        return LVMPool.Options(
            volumeGroup: group.name,
            drives: DriveSelection(
                paths: drives.paths, model: drives.model, serials: drives.serials, minimumSize: drives.minimumSize,
                maximumSize: drives.maximumSize, rotational: drives.rotational, allEmptyNVMe: drives.allEmptyNVMe),
            layout: layout, stripes: group.stripes, chunkSize: group.chunkSize, mayCreate: group.create,
            overcommit: group.overcommit)
    }
}
