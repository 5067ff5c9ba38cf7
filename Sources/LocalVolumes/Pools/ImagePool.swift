import Blocking
import Errors
import Glibc
import LinuxSystem
import Logging
import Synchronization
import SystemPackage

/// A pool of image files on loop devices, in a directory of any local file system.
///
/// Images are sparse: they take what has been written, and what is discarded is given back. Capacity is nevertheless
/// promised in full, so a volume cannot run out of pool. Where something else fills the file system all the same, or an
/// overcommit factor allows more than there is, a write that finds no room fails as an I/O error of the loop device: ext4
/// turns read-only, xfs shuts down, and the local copy stays dirty and as it was on the drive.
///
/// Where the file system shares blocks between files (XFS, btrfs), a cut is a clone and takes no time, and what changed is
/// known from the extents of two clones; a pool that gets short of room lets those clones go. Elsewhere the copy itself is
/// the cut.
public final class ImagePool: VolumePool {
    public struct Options: Sendable, Equatable {
        /// What the pool may take of its file system, in bytes; nil for all but the reserve.
        public var size: UInt64?
        /// What is left to others; nil for a twentieth of the file system, at most 16 GiB.
        public var reserve: UInt64?
        /// How many bytes of capacity are promised for each byte of space. 1 is safe.
        public var overcommit: Double

        public init(size: UInt64? = nil, reserve: UInt64? = nil, overcommit: Double = 1) {
            (self.size, self.reserve, self.overcommit) = (size, reserve, overcommit)
        }
    }

    /// What a volume's size has to be a multiple of, in bytes.
    public static let sizeUnit: UInt64 = 4096

    public let name: String
    let directory: ImageDirectory
    private let options: Options
    private let logger: Logger
    private let lock: FileLock
    private let rootStatus: FileStatus
    private let books = Mutex(Books())

    private struct Books {
        var isRecovered = false
        var records: [String: CopyRecord] = [:]
        var devices: [String: LoopDevice] = [:]
        var damaged: [String: ImageRecovery.Finding] = [:]
        /// Promised to copies that are being made or grown.
        var pending: [String: UInt64] = [:]

        var promised: UInt64 {
            records.values.reduce(0) { $0 + $1.sizeBytes } + damaged.values.reduce(0) { $0 + $1.sizeBytes }
                + pending.values.reduce(0, +)
        }
    }

    /// Takes the pool in `directory` for this process, and makes it where the directory is empty or missing. `recover`
    /// comes next.
    ///
    /// - Throws: `failedPrecondition` where another process uses the pool, or the directory holds something else.
    public static func open(
        name: String, directory: FilePath, options: Options = Options(), logger: Logger
    ) async throws -> ImagePool {
        guard options.overcommit >= 1, options.overcommit <= 100, options.size != 0 else {
            throw PerSSDError(
                .invalidArgument, "the pool '\(name)' has an overcommit factor outside 1 to 100, or a size of zero",
                remedy: "correct the pool's options")
        }
        let opened = try await BlockingPool.shared.run {
            do { return try ImageDirectory.open(directory) } catch {
                throw PerSSDError(wrapping: error, during: "could not open the pool '\(name)'")
            }
        }
        return ImagePool(name: name, opened: opened, options: options, logger: logger)
    }

    private init(name: String, opened: ImageDirectory.Opened, options: Options, logger: Logger) {
        self.name = name
        directory = opened.directory
        lock = opened.lock
        rootStatus = opened.status
        self.options = options
        self.logger = logger
    }

    public var location: String { "images in \(directory.root)" }
    public var cutsAreInstant: Bool { directory.canShareBlocks }

    /// Copies that `recover` found and could not make sense of.
    public var damagedCopies: [DamagedCopy] {
        books.withLock { books in
            books.damaged.map { DamagedCopy(volume: $0.key, error: $0.value.error) }.sorted { $0.volume < $1.volume }
        }
    }

    // MARK: Capacity

    public func usage() async throws -> PoolUsage {
        let volumes = try books.withLock { books in
            try Self.requireRecovered(books)
            return Array(books.records.keys)
        }
        let total = try await BlockingPool.shared.run { try self.totalBytes(volumes) }
        let promised = books.withLock { $0.promised }
        return PoolUsage(totalBytes: total, freeBytes: total > promised ? total - promised : 0)
    }

    /// What may be promised: of what the images have and what the file system has left, all but the reserve.
    private func totalBytes(_ volumes: [String]) throws -> UInt64 {
        var room = try availableBytes()
        for volume in volumes {
            room += try FileStatus.of(directory.image(volume))?.allocatedBytes ?? 0
        }
        room = min(room, options.size ?? .max)
        let promised = Double(room) * options.overcommit
        return UInt64(min(promised, Double(Int64.max))) / Self.sizeUnit * Self.sizeUnit
    }

    /// What the file system has left beyond the reserve.
    private func availableBytes() throws -> UInt64 {
        let stats = try FileSystemStats(of: directory.root)
        let reserve = reserve(stats)
        return stats.availableBytes > reserve ? stats.availableBytes - reserve : 0
    }

    private func reserve(_ stats: FileSystemStats) -> UInt64 {
        options.reserve ?? min(stats.totalBytes / 20, 16 << 30)
    }

    public func shortage() async throws -> PerSSDError? {
        try books.withLock { try Self.requireRecovered($0) }
        return try await BlockingPool.shared.run {
            if try self.isShort() { try self.makeRoom() }
            // xfs frees the blocks of removed files a little later, in the background.
            for _ in 0..<20 where try self.isShort() { usleep(100_000) }
            guard try self.isShort() else { return nil }
            let left = try FileSystemStats(of: self.directory.root).availableBytes
            return PerSSDError(
                .resourceExhausted,
                "the file system of the pool's directory \(self.directory.root) has \(left) bytes left",
                remedy: "make room in it, or let pods end: once it is full, writes fail")
        }
    }

    /// Others may use the reserve; that little is left of it is what hurts.
    private func isShort() throws -> Bool {
        let stats = try FileSystemStats(of: directory.root)
        return stats.availableBytes <= reserve(stats) / 4
    }

    /// Lets bases go, the largest first, until there is room for every copy to be written in full while it shares nothing
    /// with its base any more. What a pod writes comes before what makes the next stage-out short.
    private func makeRoom() throws {
        guard directory.canShareBlocks else { return }
        let available = try availableBytes()
        var needed: UInt64 = 0
        var bases: [(volume: String, bytes: UInt64)] = []
        for record in books.withLock({ Array($0.records.values) }) {
            let allocated = try FileStatus.of(directory.image(record.volume))?.allocatedBytes ?? 0
            let missing = record.sizeBytes > allocated ? record.sizeBytes - allocated : 0
            needed += UInt64(Double(missing) / options.overcommit)
            if try FileStatus.of(directory.cutFile(record.volume)) != nil { needed += allocated }
            for generation in try baseGenerations(record.volume) {
                let base = try FileStatus.of(directory.baseFile(record.volume, generation))?.allocatedBytes ?? 0
                bases.append((record.volume, base))
                needed += base
            }
        }
        for base in bases.sorted(by: { $0.bytes > $1.bytes }) where needed > available {
            logger.notice(
                "the pool '\(name)' is short of room: the next stage-out of '\(base.volume)' reads all of it, not only changes"
            )
            try directory.removeBases(base.volume, except: nil)
            needed -= base.bytes
        }
    }

    /// Of a volume that is being removed at this moment there are none.
    private func baseGenerations(_ volume: String) throws -> [UInt64] {
        do {
            return try directory.baseGenerations(volume)
        } catch let error as PerSSDError where error.code == .notFound {
            return []
        }
    }

    /// Sets `bytes` more aside for the volume.
    private func promise(_ bytes: UInt64, to volume: String) throws {
        let volumes = books.withLock { Array($0.records.keys) }
        let total = try totalBytes(volumes)
        try books.withLock { books in
            let free = total > books.promised ? total - books.promised : 0
            guard bytes <= free else {
                throw PerSSDError(
                    .resourceExhausted,
                    "the pool '\(name)' has \(free) bytes free of \(total), and '\(volume)' needs \(bytes)",
                    remedy: "remove volumes, enlarge the pool, or ask for less")
            }
            books.pending[volume, default: 0] += bytes
        }
    }

    // MARK: Local copies

    public func check() async throws {
        try books.withLock { try Self.requireRecovered($0) }
        try await BlockingPool.shared.run {
            let status = try FileStatus.of(self.directory.root)
            guard status?.device == self.rootStatus.device, status?.inode == self.rootStatus.inode else {
                throw PerSSDError(
                    .unavailable, "the pool's directory \(self.directory.root) is not the one it was",
                    remedy: "mount its file system again, and restart the node plugin")
            }
            let probe = self.directory.root.appending(DurableFile.temporaryPrefix + DurableFile.randomName())
            try DurableFile.write([1], to: probe)
            try DurableFile.removeIfThere(probe)
        }
    }

    public func recover() async throws -> [LocalCopy] {
        let found = try await BlockingPool.shared.run { try ImageRecovery(self.directory) }
        for finding in found.findings + Array(found.damaged.values) {
            logger.error("left alone in the pool '\(name)': \(finding.error)")
        }
        return books.withLock { books in
            books = Books(
                isRecovered: true, records: found.records, devices: found.devices, damaged: found.damaged)
            return found.records.values.sorted { $0.volume < $1.volume }.map {
                LocalCopy(record: $0, device: found.devices[$0.volume]?.path)
            }
        }
    }

    public func create(_ record: CopyRecord) async throws -> LocalCopy {
        try CopyName.validate(record.volume)
        try Self.checkSize(record.sizeBytes, of: record.volume)
        try books.withLock { books in
            try Self.requireUsable(record.volume, books)
            if books.records[record.volume] != nil {
                throw PerSSDError(.alreadyExists, "the pool '\(name)' has a local copy of '\(record.volume)' already")
            }
        }
        try await BlockingPool.shared.run {
            try self.promise(record.sizeBytes, to: record.volume)
            defer { self.books.withLock { _ = $0.pending.removeValue(forKey: record.volume) } }
            try self.directory.create(record)
            self.books.withLock { $0.records[record.volume] = record }
            try self.makeRoom()
        }
        return LocalCopy(record: record, device: nil)
    }

    public func save(_ record: CopyRecord) async throws {
        let old = try self.record(of: record.volume)
        try old.requireSuccessor(record)
        try await BlockingPool.shared.run {
            try self.directory.save(record)
            self.books.withLock { $0.records[record.volume] = record }
        }
    }

    public func remove(_ volume: String) async throws {
        try CopyName.validate(volume)
        try books.withLock { try Self.requireUsable(volume, $0) }
        try await BlockingPool.shared.run {
            try self.letGo(volume)
            try self.directory.remove(volume)
            self.books.withLock { _ = $0.records.removeValue(forKey: volume) }
        }
    }

    public func resize(_ volume: String, toBytes size: UInt64) async throws {
        var record = try self.record(of: volume)
        try Self.checkSize(size, of: volume)
        guard size >= record.sizeBytes else {
            throw PerSSDError(
                .outOfRange, "'\(volume)' has \(record.sizeBytes) bytes and cannot shrink to \(size)",
                remedy: "make a smaller volume, and copy the files")
        }
        let growth = size - record.sizeBytes
        record.sizeBytes = size
        let grown = record
        try await BlockingPool.shared.run {
            if growth > 0 {
                try self.promise(growth, to: volume)
                defer { self.books.withLock { _ = $0.pending.removeValue(forKey: volume) } }
                try self.directory.grow(grown)
                self.books.withLock { $0.records[volume] = grown }
                try self.makeRoom()
            }
            // Also where the size is as asked: an earlier try may have failed here.
            if let device = self.books.withLock({ $0.devices[volume] }) { try device.takeOverSize() }
        }
    }

    // MARK: Devices

    public func attach(_ volume: String) async throws -> FilePath {
        _ = try record(of: volume)
        return try await BlockingPool.shared.run {
            if let device = try self.currentDevice(of: volume) { return device.path }
            let device = try LoopDevice.attach(self.directory.image(volume))
            self.books.withLock { $0.devices[volume] = device }
            return device.path
        }
    }

    public func detach(_ volume: String) async throws {
        _ = try record(of: volume)
        try await BlockingPool.shared.run { try self.letGo(volume) }
    }

    /// The volume's device, if it still stands before the volume's image.
    private func currentDevice(of volume: String) throws -> LoopDevice? {
        guard let device = books.withLock({ $0.devices[volume] }) else { return nil }
        if let now = try device.current() { return now }
        books.withLock { _ = $0.devices.removeValue(forKey: volume) }
        return nil
    }

    private func letGo(_ volume: String) throws {
        guard let device = try currentDevice(of: volume) else { return }
        try DeviceBindings(in: try MountTable.current()).refuse(device.path)
        try device.detach()
        books.withLock { _ = $0.devices.removeValue(forKey: volume) }
    }

    // MARK: Cuts

    public func cut(_ volume: String) async throws -> Cut {
        _ = try record(of: volume)
        return try await BlockingPool.shared.run {
            if let device = try self.currentDevice(of: volume) { try BlockDevice.flush(device.path) }
            guard self.directory.canShareBlocks else {
                return Cut(volume: volume, path: self.directory.image(volume), isIndependent: false)
            }
            let path = self.directory.cutFile(volume)
            guard try FileStatus.of(path, followingLinks: false) == nil else {
                throw PerSSDError(
                    .failedPrecondition, "'\(volume)' has a cut already", remedy: "keep or discard that one first")
            }
            do {
                try self.directory.cloneImage(volume, to: path)
                try self.makeRoom()
            } catch {
                // Nobody else knows of it.
                _ = try? DurableFile.removeIfThere(path)
                throw error
            }
            return Cut(volume: volume, path: path, isIndependent: true)
        }
    }

    public func pendingCut(_ volume: String) async throws -> Cut? {
        _ = try record(of: volume)
        return try await BlockingPool.shared.run {
            let path = self.directory.cutFile(volume)
            guard try FileStatus.of(path, followingLinks: false) != nil else { return nil }
            return Cut(volume: volume, path: path, isIndependent: true)
        }
    }

    public func changes(in cut: Cut, since generation: UInt64) async throws -> [Range<UInt64>]? {
        _ = try record(of: cut.volume)
        guard cut.isIndependent else { return nil }
        return try await BlockingPool.shared.run {
            let base = self.directory.baseFile(cut.volume, generation)
            guard try FileStatus.of(base, followingLinks: false) != nil else { return nil }
            return try ExtentComparison.changes(from: base, to: cut.path)
        }
    }

    public func base(of volume: String, for generation: UInt64) async throws -> FilePath? {
        _ = try record(of: volume)
        return try await BlockingPool.shared.run {
            let path = self.directory.baseFile(volume, generation)
            return try FileStatus.of(path, followingLinks: false) == nil ? nil : path
        }
    }

    public func keep(_ cut: Cut, asBaseFor generation: UInt64) async throws {
        _ = try record(of: cut.volume)
        guard cut.isIndependent else { return }
        try await BlockingPool.shared.run {
            let base = self.directory.baseFile(cut.volume, generation)
            do {
                try DurableFile.rename(self.directory.cutFile(cut.volume), to: base)
            } catch let error as PerSSDError where error.errno == .noSuchFileOrDirectory {
                // A retry after an answer that got lost.
                guard try FileStatus.of(base, followingLinks: false) != nil else {
                    throw PerSSDError(.notFound, "'\(cut.volume)' has no cut to keep", cause: error)
                }
            }
            try self.directory.removeBases(cut.volume, except: generation)
            try self.makeRoom()
        }
    }

    public func keepCopy(_ volume: String, asBaseFor generation: UInt64) async throws {
        _ = try record(of: volume)
        guard directory.canShareBlocks else { return }
        try await BlockingPool.shared.run {
            if let device = try self.currentDevice(of: volume) { try BlockDevice.flush(device.path) }
            try self.directory.cloneImage(volume, to: self.directory.baseFile(volume, generation))
            try self.directory.removeBases(volume, except: generation)
            try self.makeRoom()
        }
    }

    public func discard(_ cut: Cut) async throws {
        _ = try record(of: cut.volume)
        guard cut.isIndependent else { return }
        try await BlockingPool.shared.run { try self.directory.removeCut(cut.volume) }
    }

    // MARK: Checks

    private func record(of volume: String) throws -> CopyRecord {
        try CopyName.validate(volume)
        return try books.withLock { books in
            try Self.requireUsable(volume, books)
            guard let record = books.records[volume] else {
                throw PerSSDError(.notFound, "the pool '\(name)' has no local copy of '\(volume)'")
            }
            return record
        }
    }

    private static func requireRecovered(_ books: Books) throws {
        guard books.isRecovered else { throw PerSSDError(.internal, "a pool was used before it was recovered") }
    }

    private static func requireUsable(_ volume: String, _ books: Books) throws {
        try requireRecovered(books)
        if let damage = books.damaged[volume] { throw damage.error }
    }

    private static func checkSize(_ size: UInt64, of volume: String) throws {
        guard size > 0, size % sizeUnit == 0, size <= UInt64(Int64.max) else {
            throw PerSSDError(
                .outOfRange, "'\(volume)' cannot have \(size) bytes",
                remedy: "a size is a multiple of \(sizeUnit) bytes, and above zero")
        }
    }
}
