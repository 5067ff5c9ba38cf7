import Errors
import LinuxSystem
import LocalVolumes
import Synchronization
import SystemPackage

/// A pool of images that says of itself what a pool of thin volumes does: that its cuts freeze.
struct SelfFreezingPool: VolumePool {
    private let pool: ImagePool
    private let calls: PoolCalls
    private let refusal: PerSSDError?

    /// - Parameter refusal: why what is frozen cannot be cut; nil where it can.
    init(_ pool: ImagePool, _ calls: PoolCalls, refusal: PerSSDError? = nil) {
        (self.pool, self.calls, self.refusal) = (pool, calls, refusal)
    }

    var cutsFreeze: Bool { true }
    func requireFrozenCuts() throws { if let refusal { throw refusal } }
    func prepareCut(_ volume: String) async throws { calls.add("prepare") }

    func cut(_ volume: String) async throws -> Cut {
        let mounted = try MountTable.current().entries.first { $0.mountPoint.lastComponent?.string == volume }
        guard let place = mounted?.mountPoint else { return try await pool.cut(volume) }
        // Whoever holds it is not known; that nobody can hold it a second time is.
        do {
            try MountedFileSystem.freeze(place)
        } catch let error as PerSSDError where error.errno == .resourceBusy {
            calls.add("cut of frozen")
            return try await pool.cut(volume)
        }
        calls.add("cut")
        defer { _ = try? MountedFileSystem.thaw(place) }
        return try await pool.cut(volume)
    }

    // MARK: All else is the other pool's

    var name: String { pool.name }
    var location: String { pool.location }
    var damagedCopies: [DamagedCopy] { pool.damagedCopies }
    var cutsAreInstant: Bool { pool.cutsAreInstant }
    func usage() async throws -> PoolUsage { try await pool.usage() }
    func check() async throws { try await pool.check() }
    func shortage() async throws -> PerSSDError? { try await pool.shortage() }
    func recover() async throws -> [LocalCopy] { try await pool.recover() }
    func create(_ record: CopyRecord) async throws -> LocalCopy { try await pool.create(record) }
    func save(_ record: CopyRecord) async throws { try await pool.save(record) }
    func remove(_ volume: String) async throws { try await pool.remove(volume) }
    func resize(_ volume: String, toBytes: UInt64) async throws { try await pool.resize(volume, toBytes: toBytes) }
    func attach(_ volume: String) async throws -> FilePath { try await pool.attach(volume) }
    func detach(_ volume: String) async throws { try await pool.detach(volume) }
    func pendingCut(_ volume: String) async throws -> Cut? { try await pool.pendingCut(volume) }
    func changes(in cut: Cut, since generation: UInt64) async throws -> [Range<UInt64>]? {
        try await pool.changes(in: cut, since: generation)
    }
    func base(of volume: String, for generation: UInt64) async throws -> FilePath? {
        try await pool.base(of: volume, for: generation)
    }
    func keep(_ cut: Cut, asBaseFor generation: UInt64) async throws {
        try await pool.keep(cut, asBaseFor: generation)
    }
    func keepCopy(_ volume: String, asBaseFor generation: UInt64) async throws {
        try await pool.keepCopy(volume, asBaseFor: generation)
    }
    func discard(_ cut: Cut) async throws { try await pool.discard(cut) }
}

/// What a pool was asked for.
final class PoolCalls: Sendable {
    private let calls = Mutex<[String]>([])

    func add(_ call: String) { calls.withLock { $0.append(call) } }

    /// What came since this was last read.
    var taken: [String] {
        calls.withLock { calls in
            defer { calls = [] }
            return calls
        }
    }
}
