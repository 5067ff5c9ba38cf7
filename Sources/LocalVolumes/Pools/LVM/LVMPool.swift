import Blocking
import Commands
import Errors
import LinuxSystem
import Logging
import Synchronization
import SystemPackage

/// A pool of thin logical volumes, in a thin pool that fills an LVM volume group of its own on the node's drives.
///
/// All it must remember is in LVM's tags, so that a record changes with one commit of the group's metadata, and a local copy
/// is there with its record or not at all. A cut is a thin snapshot; what changed between two is known from the thin pool's own
/// metadata. Capacity is promised in full, unless an overcommit factor says otherwise, and a margin stays free.
///
/// One command of LVM runs at a time: the commands change one record, the group's metadata.
public final class LVMPool: VolumePool {
    public enum Layout: String, Sendable, CaseIterable {
        case linear, striped, raid1
    }

    public struct Options: Sendable, Equatable {
        public var volumeGroup: String
        public var drives: DriveSelection
        public var layout: Layout
        /// How many drives a striped pool is striped over; nil for all.
        public var stripes: Int?
        /// The unit of allocation, in bytes; nil for 64 KiB, more for pools above some 7 TiB.
        public var chunkSize: UInt64?
        /// Whether a group that is not there is made.
        public var mayCreate: Bool
        /// How many bytes of capacity are promised for each byte of space. 1 is safe.
        public var overcommit: Double
        /// How old a listing may be that a step of a stage-out or a publish goes by. LVM takes longer for it than for most
        /// that follows from it, and nobody else changes what is the pool's.
        public var listingLifetime: Duration = .seconds(5)

        public init(
            volumeGroup: String, drives: DriveSelection = DriveSelection(), layout: Layout = .linear,
            stripes: Int? = nil, chunkSize: UInt64? = nil, mayCreate: Bool = false, overcommit: Double = 1
        ) {
            self.volumeGroup = volumeGroup
            self.drives = drives
            self.layout = layout
            self.stripes = stripes
            self.chunkSize = chunkSize
            self.mayCreate = mayCreate
            self.overcommit = overcommit
        }
    }

    public let name: String
    let group: String
    let options: Options
    let tools: LVMTools
    let logger: Logger
    /// Of the volume group, in bytes; what a volume's size has to be a multiple of.
    let extentBytes: UInt64
    /// nil where it says nothing that is known.
    private let kernel: KernelRelease?
    private let fileLock: FileLock
    private let lock = AsyncLock()
    private let books = Mutex(Books())

    private struct Books {
        var isRecovered = false
        var records: [String: CopyRecord] = [:]
        /// The volumes that may have a cut, so that a start asks LVM about no others.
        var cut: Set<String> = []
        var damaged: [String: PerSSDError] = [:]
        /// The volumes whose next cut needs no look at what there is, and since when.
        var prepared: [String: ContinuousClock.Instant] = [:]
        /// What there was at the time, while no command of this pool has changed it.
        var listing: (state: ThinPoolState, time: ContinuousClock.Instant)?
    }

    /// Cuts that were prepared come at once, or somebody has given them up.
    private static let preparationLifetime: Duration = .seconds(60)

    /// From here on a file system that is frozen can be frozen once more, as device-mapper does with what is mounted on what it
    /// suspends. Before, that is refused, and LVM's snapshot of what is frozen with it.
    private static let nestingFreezes = KernelRelease(6, 8)

    init(
        name: String, options: Options, tools: LVMTools, extentBytes: UInt64, kernel: KernelRelease?, lock: FileLock,
        logger: Logger
    ) {
        self.name = name
        group = options.volumeGroup
        self.options = options
        self.tools = tools
        self.extentBytes = extentBytes
        self.kernel = kernel
        fileLock = lock
        self.logger = logger
    }

    public var location: String { "logical volumes in volume group \(group)" }
    public var cutsAreInstant: Bool { true }
    /// Device-mapper freezes what is mounted while it makes a snapshot.
    public var cutsFreeze: Bool { true }

    public func requireFrozenCuts() throws {
        if let kernel, kernel >= Self.nestingFreezes { return }
        let found = kernel.map { "Linux \($0)" } ?? "a kernel that does not tell its version"
        throw PerSSDError(
            .failedPrecondition,
            "pool \(name) (\(location)) holds a volume for its own cut only, on \(found), so the volumes of a group "
                + "cannot be cut at one moment while pods write them",
            remedy: "run Linux \(Self.nestingFreezes) or later on the node, unpublish all of the group's volumes but "
                + "one, or use pools of images on XFS or btrfs")
    }

    /// Copies that `recover` found and could not make sense of.
    public var damagedCopies: [DamagedCopy] {
        books.withLock { books in
            books.damaged.map { DamagedCopy(volume: $0.key, error: $0.value) }.sorted { $0.volume < $1.volume }
        }
    }

    /// Runs `body` with what is there now, alone.
    func alone<Value: Sendable>(_ body: @Sendable (ThinPoolState) async throws -> Value) async throws -> Value {
        try await lock.run { try await body(try await self.state()) }
    }

    /// The same with what was there some seconds ago, for what asks which volumes there are, and not how full they are.
    func aloneAsListed<Value: Sendable>(_ body: @Sendable (ThinPoolState) async throws -> Value) async throws -> Value {
        try await lock.run {
            do {
                let listing = self.books.withLock { $0.listing }
                if let listing, .now - listing.time < self.options.listingLifetime {
                    return try await body(listing.state)
                }
                return try await body(try await self.state())
            } catch {
                // Whatever it was, the next try looks.
                self.books.withLock { $0.listing = nil }
                throw error
            }
        }
    }

    /// The same for what needs to know nothing of what is there.
    func aloneWithoutLook<Value: Sendable>(_ body: @Sendable () async throws -> Value) async throws -> Value {
        try await lock.run(body)
    }

    private func state() async throws -> ThinPoolState {
        let time = ContinuousClock.now
        let state = try ThinPoolState(try await tools.logicalVolumes(group), group: group)
        books.withLock { $0.listing = (state, time) }
        return state
    }

    /// Runs a command, alone, that changes which volumes there are, or what their tags say.
    func change(_ command: String, _ arguments: [String]) async throws {
        books.withLock { $0.listing = nil }
        try await tools.lvm(command, arguments)
    }

    // MARK: The pool

    public func usage() async throws -> PoolUsage {
        try books.withLock { try Self.requireRecovered($0) }
        let state = try await lock.run { try await self.state() }
        return PoolUsage(
            totalBytes: state.totalBytes(overcommit: options.overcommit),
            freeBytes: state.freeBytes(overcommit: options.overcommit))
    }

    public func check() async throws {
        try books.withLock { try Self.requireRecovered($0) }
        try await lock.run {
            guard let found = try await self.tools.volumeGroups().first(where: { $0.name == self.group }) else {
                throw PerSSDError(
                    .unavailable, "the volume group '\(self.group)' is gone",
                    remedy: "look for its drives in dmesg and nvme list")
            }
            try Self.checkDrives(found, isMirrored: self.options.layout == .raid1, self.logger)
            let state = try await self.state()
            try state.checkHealth(group: self.group, isMirrored: self.options.layout == .raid1)
            await self.makeRoom(state)
        }
    }

    public func shortage() async throws -> PerSSDError? {
        try books.withLock { try Self.requireRecovered($0) }
        return try await alone { state in
            await self.makeRoom(state)
            guard state.shortage(group: self.group) != nil else { return nil }
            return try await self.state().shortage(group: self.group)
        }
    }

    public func fill() async throws -> ThinPoolFill? {
        try books.withLock { try Self.requireRecovered($0) }
        // Asked right after the look at what is short, so that is young enough.
        return try await aloneAsListed { state in
            guard let data = state.pool.dataPercent, let metadata = state.pool.metadataPercent else { return nil }
            return ThinPoolFill(data: data / 100, metadata: metadata / 100)
        }
    }

    /// Lets bases go where the pool is short of room, or would be with `bytes` more.
    func makeRoom(_ state: ThinPoolState, for bytes: UInt64 = 0) async {
        for base in state.dispensableBases(overcommit: options.overcommit, adding: bytes) {
            let volume = LVMTags.volume(base.volume.tags) ?? base.volume.name
            logger.notice(
                "the pool '\(name)' is short of room: the next stage-out of '\(volume)' reads all of it, not only changes"
            )
            await discard([base.volume])
        }
    }

    // MARK: Local copies

    public func recover() async throws -> [LocalCopy] {
        try await lock.run {
            try await self.activatePool()
            var state = try await self.state()
            try state.checkHealth(group: self.group, isMirrored: self.options.layout == .raid1)
            try await self.finish(&state)
            for error in state.findings + state.damaged.values.map(\.error) {
                self.logger.error("left alone in the pool '\(self.name)': \(error)")
            }
            let found = state
            self.books.withLock { books in
                books = Books(
                    isRecovered: true, records: found.copies.mapValues(\.record),
                    cut: Set(found.cuts.filter { !$0.value.isEmpty }.keys),
                    damaged: found.damaged.mapValues(\.error))
            }
            await self.makeRoom(found)
            let copies = found.copies.values.sorted { $0.record.volume < $1.record.volume }
            return try await BlockingPool.shared.run {
                try copies.map { LocalCopy(record: $0.record, device: try self.device(of: $0.volume.name)) }
            }
        }
    }

    public func create(_ record: CopyRecord) async throws -> LocalCopy {
        try CopyName.validate(record.volume)
        try checkSize(record.sizeBytes, of: record.volume)
        try books.withLock { books in
            try Self.requireUsable(record.volume, books)
            if books.records[record.volume] != nil {
                throw PerSSDError(.alreadyExists, "the pool '\(name)' has a local copy of '\(record.volume)' already")
            }
        }
        return try await alone { state in
            try self.require(record.sizeBytes, for: record.volume, state)
            await self.makeRoom(state, for: record.sizeBytes)
            let copy = LVMNames.copy(record.volume)
            try await self.change(
                "lvcreate",
                ["--yes", "--virtualsize", "\(record.sizeBytes)b", "--thinpool", "\(self.group)/\(state.pool.name)"]
                    + ["--wipesignatures", "n", "--setactivationskip", "n"] + Self.adding(LVMTags.encode(.copy(record)))
                    + ["--name", copy])
            self.books.withLock { $0.records[record.volume] = record }
            return LocalCopy(
                record: record, device: try await BlockingPool.shared.run { try self.device(of: copy) })
        }
    }

    public func save(_ record: CopyRecord) async throws {
        let old = try self.record(of: record.volume)
        try old.requireSuccessor(record)
        try await lock.run { try await self.retag(from: old, to: record) }
    }

    /// One commit of the group's metadata: the record is the old one or the new one.
    private func retag(from old: CopyRecord, to record: CopyRecord) async throws {
        let (before, after) = (LVMTags.encode(.copy(old)), LVMTags.encode(.copy(record)))
        guard before != after else { return }
        try await change("lvchange", Self.exchanging(before, after) + ["\(group)/\(LVMNames.copy(record.volume))"])
        books.withLock { $0.records[record.volume] = record }
    }

    public func remove(_ volume: String) async throws {
        try CopyName.validate(volume)
        try books.withLock { try Self.requireUsable(volume, $0) }
        try await alone { state in
            // The copy first: where it is in use, nothing is removed.
            if let copy = state.copies[volume] {
                try await self.refuseBinding(copy.volume.name)
                try await self.change("lvremove", ["--yes", "\(self.group)/\(copy.volume.name)"])
                self.books.withLock { _ = $0.records.removeValue(forKey: volume) }
            }
            let rest = (state.cuts[volume] ?? []) + (state.bases[volume] ?? []).map(\.volume)
            if !rest.isEmpty {
                try await self.change("lvremove", ["--yes"] + rest.map { "\(self.group)/\($0.name)" })
            }
            self.note(cutOf: volume, isThere: false)
        }
    }

    public func resize(_ volume: String, toBytes size: UInt64) async throws {
        let old = try self.record(of: volume)
        try checkSize(size, of: volume)
        guard size >= old.sizeBytes else {
            throw PerSSDError(
                .outOfRange, "'\(volume)' has \(old.sizeBytes) bytes and cannot shrink to \(size)",
                remedy: "make a smaller volume, and copy the files")
        }
        guard size > old.sizeBytes else { return }
        try await alone { state in
            guard let copy = state.copies[volume] else { throw self.missing(volume) }
            try self.require(size - old.sizeBytes, for: volume, state)
            await self.makeRoom(state, for: size - old.sizeBytes)
            // First the device, then the record: a longer device than the record says is an unfinished step.
            if copy.volume.sizeBytes < size {
                try await self.change("lvextend", ["--size", "\(size)b", "\(self.group)/\(copy.volume.name)"])
            }
            var grown = old
            grown.sizeBytes = size
            try await self.retag(from: old, to: grown)
        }
    }

    private func require(_ bytes: UInt64, for volume: String, _ state: ThinPoolState) throws {
        if let shortage = state.shortage(group: group) { throw shortage }
        let free = state.freeBytes(overcommit: options.overcommit)
        guard bytes <= free else {
            let total = state.totalBytes(overcommit: options.overcommit)
            throw PerSSDError(
                .resourceExhausted,
                "the pool '\(name)' has \(free) bytes free of \(total), and '\(volume)' needs \(bytes)",
                remedy: "remove volumes, enlarge the pool, or ask for less")
        }
    }

    // MARK: Devices

    public func attach(_ volume: String) async throws -> FilePath {
        _ = try record(of: volume)
        return try await lock.run { try await self.activate(LVMNames.copy(volume)) }
    }

    public func detach(_ volume: String) async throws {
        _ = try record(of: volume)
        try await lock.run {
            let copy = LVMNames.copy(volume)
            guard try await BlockingPool.shared.run({ try self.device(of: copy) }) != nil else { return }
            try await self.refuseBinding(copy)
            try await self.tools.lvm("lvchange", ["--activate", "n", "\(self.group)/\(copy)"])
        }
    }

    /// Makes the device of a logical volume, where it has none, and returns it.
    func activate(_ logicalVolume: String) async throws -> FilePath {
        if let device = try await BlockingPool.shared.run({ try self.device(of: logicalVolume) }) { return device }
        try await tools.lvm(
            "lvchange", ["--activate", "y", "--ignoreactivationskip", "\(group)/\(logicalVolume)"])
        return try await BlockingPool.shared.run {
            try DeviceMapper.node(of: LVMNames.deviceMapperName(self.group, logicalVolume))
        }
    }

    /// Blocks for a moment.
    ///
    /// - Returns: nil where the volume is not active.
    func device(of logicalVolume: String) throws -> FilePath? {
        let name = LVMNames.deviceMapperName(group, logicalVolume)
        guard try DeviceMapper.number(of: name) != nil else { return nil }
        return try DeviceMapper.node(of: name)
    }

    private func refuseBinding(_ logicalVolume: String) async throws {
        try await BlockingPool.shared.run {
            guard let device = try self.device(of: logicalVolume) else { return }
            try DeviceBindings(in: try MountTable.current()).refuse(device)
        }
    }

    /// Removes snapshots of ours that nobody needs; one that cannot be removed now is found again by the next start.
    func discard(_ volumes: [LogicalVolume]) async {
        guard !volumes.isEmpty else { return }
        do {
            try await change("lvremove", ["--yes"] + volumes.map { "\(group)/\($0.name)" })
        } catch {
            logger.error("a snapshot in the pool '\(name)' cannot be removed: \(error)")
        }
    }

    // MARK: Checks

    func record(of volume: String) throws -> CopyRecord {
        try CopyName.validate(volume)
        return try books.withLock { books in
            try Self.requireUsable(volume, books)
            guard let record = books.records[volume] else { throw missing(volume) }
            return record
        }
    }

    func mayHaveCut(_ volume: String) -> Bool { books.withLock { $0.cut.contains(volume) } }

    func note(cutOf volume: String, isThere: Bool) {
        books.withLock { books in
            if isThere { books.cut.insert(volume) } else { books.cut.remove(volume) }
        }
    }

    /// The volumes whose next cut has been prepared, some seconds ago at the most.
    var prepared: Set<String> {
        books.withLock { books in
            books.prepared = books.prepared.filter { .now - $0.value < Self.preparationLifetime }
            return Set(books.prepared.keys)
        }
    }

    /// - Parameter isPrepared: whether the next cut of the volume needs no look at what there is.
    func note(_ volume: String, isPrepared: Bool) {
        books.withLock { $0.prepared[volume] = isPrepared ? .now : nil }
    }

    func missing(_ volume: String) -> PerSSDError {
        PerSSDError(.notFound, "the pool '\(name)' has no local copy of '\(volume)'")
    }

    private static func requireRecovered(_ books: Books) throws {
        guard books.isRecovered else { throw PerSSDError(.internal, "a pool was used before it was recovered") }
    }

    private static func requireUsable(_ volume: String, _ books: Books) throws {
        try requireRecovered(books)
        if let damage = books.damaged[volume] { throw damage }
    }

    private func checkSize(_ size: UInt64, of volume: String) throws {
        guard size > 0, size % extentBytes == 0, size <= UInt64(Int64.max) else {
            throw PerSSDError(
                .outOfRange, "'\(volume)' cannot have \(size) bytes",
                remedy: "a size is a multiple of \(extentBytes) bytes, and above zero")
        }
    }

    // MARK: Arguments

    static func adding(_ tags: Set<String>) -> [String] { tags.sorted().flatMap { ["--addtag", $0] } }

    static func exchanging(_ before: Set<String>, _ after: Set<String>) -> [String] {
        before.subtracting(after).sorted().flatMap { ["--deltag", $0] } + adding(after.subtracting(before))
    }
}
