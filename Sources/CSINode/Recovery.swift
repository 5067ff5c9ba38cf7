import LocalVolumes
import Persistence

/// A local copy that a start has found, and the pool that has it.
struct RecoveredCopy: Sendable {
    var copy: LocalCopy
    var pool: any VolumePool
}

extension NodeEnvironment {
    /// Finds all that an earlier process, or an earlier life of this machine, has left in the pools.
    func recover() async throws -> [RecoveredCopy] {
        let staged = try await publisher.recover()
        var found: [RecoveredCopy] = []
        for pool in pools.all {
            found += try await pool.recover().map { RecoveredCopy(copy: $0, pool: pool) }
        }
        for mount in staged where !found.contains(where: { $0.copy.record.volume == mount.volume }) {
            logger.error("\(mount.path) is mounted, and no local copy in the pool is its")
        }
        return found
    }

    /// Where a copy is published, as the mount table says.
    func targets(of copy: LocalCopy) async throws -> [String: Publication] {
        guard let device = copy.device else { return [:] }
        let targets = try await publisher.publishedTargets(of: device)
        guard !targets.isEmpty else { return [:] }
        var fileSystem = ""
        if case .fileSystem(let kind) = try await fileSystems.contents(of: device) {
            fileSystem = kind.rawValue
        }
        var found: [String: Publication] = [:]
        for target in targets {
            let path = target.path.string
            found[path] = Publication(
                path: path, access: target.isBlock ? .block : .mount(fileSystem: fileSystem, flags: nil),
                isReadOnly: target.isReadOnly, isExclusive: false, isShared: copy.record.use == .reading)
        }
        return found
    }
}
