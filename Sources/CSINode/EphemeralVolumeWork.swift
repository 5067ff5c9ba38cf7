import Errors
import LinuxSystem
import LocalVolumes
import Persistence
import Synchronization
import SystemPackage

/// The work on an ephemeral volume: made with its first target, and gone with its last. No bucket knows of it, and its
/// machine never holds it for dirty, so that it is never cut or staged out.
///
/// `VolumeActor` calls one piece of work at a time.
final class EphemeralVolumeWork: VolumeWork {
    let id: EphemeralID
    private let environment: NodeEnvironment
    private let memory: Mutex<Memory>

    private struct Memory: Sendable {
        var pool: (any VolumePool)?
        var copy: LocalCopy?
    }

    /// - Parameter found: what a start has found.
    init(_ id: EphemeralID, found: LocalCopy?, in pool: (any VolumePool)?, environment: NodeEnvironment) {
        self.id = id
        self.environment = environment
        memory = Mutex(Memory(pool: pool, copy: found))
    }

    var copy: LocalCopy? { memory.withLock { $0.copy } }
    /// The pool that it is in; nil where it is in none.
    var pool: (any VolumePool)? { memory.withLock { $0.copy == nil ? nil : $0.pool } }

    func publish(
        _ request: PublishRequest, isFirst: Bool, progress: WorkProgress, opened: @Sendable () async -> Void
    ) async throws {
        let publication = request.publication
        do {
            guard let attributes = request.ephemeral, case .mount(_, let flags) = publication.access else {
                throw PerSSDError(.internal, "an ephemeral volume without attributes was to be published")
            }
            let options = try MountOptions(parsing: flags ?? [])
            let kind = try FileSystemKind(parsing: attributes.fileSystem)
            if isFirst { try await make(attributes, kind, progress: progress) }
            guard let device = copy?.device else { throw PerSSDError(.internal, "it has no device") }
            progress.enter("mounting")
            _ = try await environment.publisher.stage(id.rawValue, device: device, kind: kind, options: options)
            try await environment.publisher.publish(
                id.rawValue, at: publication.path, readOnly: publication.isReadOnly)
        } catch {
            // Nothing of a publish that failed stays: the caller may never come back.
            if isFirst { try? await remove() }
            throw PerSSDError(
                wrapping: error, during: "cannot publish the ephemeral volume \(id) at \(publication.path)")
        }
    }

    /// The record says `restoring` until the file system is whole, and `dirty` from then on: no bucket has any of it.
    private func make(
        _ attributes: EphemeralAttributes, _ kind: FileSystemKind, progress: WorkProgress
    ) async throws {
        let pool = try environment.pools.required(attributes.pool, for: id.rawValue)
        // What an earlier try has left, whose own cleaning up failed.
        try await remove()
        progress.enter("making room in pool \(pool.name)")
        try await environment.makeRoom(attributes.sizeBytes, pool)
        var record = CopyRecord(
            volume: id.rawValue, incarnation: Incarnation().rawValue, lineage: "none", epoch: 0, generation: 0,
            state: .restoring, sizeBytes: attributes.sizeBytes, lastUsed: environment.now, use: .ephemeral)
        let made = try await pool.create(record)
        memory.withLock { ($0.pool, $0.copy) = (pool, made) }
        environment.poolChanged()
        progress.enter("making a file system")
        let device = try await pool.attach(id.rawValue)
        try await environment.fileSystems.make(kind, on: device, settings: attributes.settings)
        record.state = .dirty
        try await pool.save(record)
        let whole = LocalCopy(record: record, device: device)
        memory.withLock { $0.copy = whole }
        environment.logger.info(
            "an ephemeral volume is made",
            metadata: ["volume": "\(id)", "pool": "\(pool.name)", "size": "\(attributes.sizeBytes)"])
    }

    func unpublish(path: String, isLast: Bool) async throws {
        do {
            try await environment.publisher.unpublish(device: copy?.device, from: path)
            if isLast { try await remove() }
        } catch {
            throw PerSSDError(wrapping: error, during: "cannot unpublish the ephemeral volume \(id) from \(path)")
        }
    }

    /// Unmounts it and lets it go, with all that it holds; fine where there is nothing.
    func remove() async throws {
        let kind = try await environment.publisher.unstage(id.rawValue)
        let (pool, copy) = memory.withLock { ($0.pool, $0.copy) }
        guard let pool, let copy else { return }
        if kind == .btrfs, let device = copy.device { try await environment.fileSystems.forget(device) }
        try await pool.remove(id.rawValue)
        memory.withLock { $0.copy = nil }
        environment.poolChanged()
    }

    func holdBack(for delay: Duration) async -> Duration? { nil }
    func expand(_ wanted: Expansion, progress: WorkProgress) async throws { throw unwanted("larger") }
    func cut() async throws { throw unwanted("a generation") }
    func stageOut(
        progress: WorkProgress, cutMade: @Sendable (_ isIndependent: Bool) async -> Void,
        isClosing: @Sendable () async -> Bool
    ) async throws { throw unwanted("a generation") }

    private func unwanted(_ what: String) -> PerSSDError {
        PerSSDError(.internal, "the ephemeral volume \(id) was to be made \(what)")
    }
}
