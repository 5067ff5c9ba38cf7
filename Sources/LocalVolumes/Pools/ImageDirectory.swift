import Errors
import Foundation
import LinuxSystem
import SystemPackage

/// The files of an image pool. All calls block.
///
/// ```
/// <directory>/pool.json                format and identity; written once
/// <directory>/lock                     locked by the one process that uses the pool; holds its process id
/// <directory>/volumes/<volume>/        a local copy
///     record.json                      what a node remembers of it
///     image                            its contents, sparse, as long as the volume
///     cut                              a cut that is being staged out (reflink only)
///     base-<generation>                the committed cut that later ones are compared with (reflink only)
/// <directory>/new/<volume>.<random>/   a copy being made
/// <directory>/trash/<volume>.<random>/ a copy being removed
/// ```
///
/// A copy comes and goes as a whole, by the rename of its folder; each file in it too. So whatever a kill leaves below
/// `volumes` is complete, and whatever it leaves below `new` and `trash` is unwanted.
struct ImageDirectory: Sendable {
    /// Without symbolic links, so that it compares with what the kernel says of loop devices.
    let root: FilePath
    /// Whether its file system shares blocks between files.
    let canShareBlocks: Bool

    init(root: FilePath, canShareBlocks: Bool) { (self.root, self.canShareBlocks) = (root, canShareBlocks) }

    var volumes: FilePath { root.appending("volumes") }
    var unfinished: FilePath { root.appending("new") }
    var trash: FilePath { root.appending("trash") }

    func folder(_ volume: String) -> FilePath { volumes.appending(volume) }
    func image(_ volume: String) -> FilePath { folder(volume).appending("image") }
    func recordFile(_ volume: String) -> FilePath { folder(volume).appending("record.json") }
    func cutFile(_ volume: String) -> FilePath { folder(volume).appending("cut") }
    func baseFile(_ volume: String, _ generation: UInt64) -> FilePath {
        folder(volume).appending("base-\(generation)")
    }

    /// Every file of the copies, by its inode: those that are complete, and those half made or half removed.
    func filesByInode() throws -> [UInt64: FilePath] {
        var files: [UInt64: FilePath] = [:]
        for parent in [trash, unfinished, volumes] {
            for folder in try DurableFile.names(in: parent).map({ parent.appending($0) })
            where try FileStatus.of(folder, followingLinks: false)?.kind == .directory {
                for path in try DurableFile.names(in: folder).map({ folder.appending($0) }) {
                    if let status = try FileStatus.of(path, followingLinks: false) { files[status.inode] = path }
                }
            }
        }
        return files
    }

    // MARK: Copies

    /// - Throws: `alreadyExists` where the volume has a folder.
    func create(_ record: CopyRecord) throws {
        let folder = unfinished.appending("\(record.volume).\(DurableFile.randomName())")
        try DurableFile.makeDirectory(folder)
        do {
            let image = try OpenFile(folder.appending("image"), O_RDWR | O_CREAT | O_EXCL)
            try image.truncate(toBytes: record.sizeBytes)
            try image.sync()
            try DurableFile.write(try Self.encode(record), to: folder.appending("record.json"))
            try DurableFile.rename(folder, toNew: self.folder(record.volume))
        } catch {
            try? dispose(folder)
            throw error
        }
    }

    func save(_ record: CopyRecord) throws {
        try DurableFile.write(try Self.encode(record), to: recordFile(record.volume))
    }

    /// - Throws: `corrupt` where it is no record, or the record of another volume; `unsupported` where it has a format from
    ///   the future.
    func record(of volume: String) throws -> CopyRecord {
        let path = recordFile(volume)
        guard let bytes = try DurableFile.read(path) else {
            throw PerSSDError(.corrupt, "\(path) is missing")
        }
        let stored: StoredRecord
        do {
            let format = try JSONDecoder().decode(StoredFormat.self, from: Data(bytes)).format
            guard format == StoredRecord.currentFormat else {
                throw PerSSDError(
                    .unsupported, "\(path) has format \(format), and this version knows \(StoredRecord.currentFormat)",
                    remedy: "run the version of PerSSD that wrote it, or a later one")
            }
            stored = try JSONDecoder().decode(StoredRecord.self, from: Data(bytes))
        } catch let error as DecodingError {
            throw PerSSDError(.corrupt, "\(path) is not the record of a local copy", cause: error)
        }
        guard stored.copy.volume == volume else {
            throw PerSSDError(.corrupt, "\(path) is the record of the volume '\(stored.copy.volume.prefix(100))'")
        }
        return stored.copy
    }

    func remove(_ volume: String) throws {
        let gone = trash.appending("\(volume).\(DurableFile.randomName())")
        do {
            try DurableFile.rename(folder(volume), toNew: gone)
        } catch let error as PerSSDError where error.errno == .noSuchFileOrDirectory {
            return
        }
        try dispose(gone)
    }

    /// Makes the image longer, then says so in the record: a longer image than the record says is an unfinished step, a
    /// shorter one is damage.
    func grow(_ record: CopyRecord) throws {
        let image = try OpenFile(image(record.volume), O_RDWR | O_NOFOLLOW)
        try image.truncate(toBytes: record.sizeBytes)
        try image.sync()
        try save(record)
    }

    /// Removes a folder with the files that a copy has, and no other.
    func dispose(_ folder: FilePath) throws {
        for name in try DurableFile.names(in: folder) where Self.isOurs(name) {
            try DurableFile.removeIfThere(folder.appending(name))
        }
        do {
            try DurableFile.removeDirectoryIfThere(folder)
        } catch let error as PerSSDError where error.errno == .directoryNotEmpty {
            throw PerSSDError(
                .failedPrecondition, "\(folder) has files in it that PerSSD did not make", remedy: "move them away",
                cause: error)
        }
    }

    static func isOurs(_ name: String) -> Bool {
        ["record.json", "image", "cut"].contains(name) || baseGeneration(name) != nil
            || name.hasPrefix(DurableFile.temporaryPrefix)
    }

    static func baseGeneration(_ name: String) -> UInt64? {
        guard name.hasPrefix("base-"), let number = UInt64(name.dropFirst(5)), name == "base-\(number)" else {
            return nil
        }
        return number
    }

    // MARK: Cuts and bases

    /// Clones the image to `name` beside it, which appears whole or not at all.
    func cloneImage(_ volume: String, to path: FilePath) throws {
        let temporary = folder(volume).appending(DurableFile.temporaryPrefix + DurableFile.randomName())
        try Reflink.clone(image(volume), to: temporary)
        try DurableFile.rename(temporary, to: path)
    }

    func removeCut(_ volume: String) throws {
        if try DurableFile.removeIfThere(cutFile(volume)) { try DurableFile.syncDirectory(folder(volume)) }
    }

    func baseGenerations(_ volume: String) throws -> [UInt64] {
        try DurableFile.names(in: folder(volume)).compactMap(Self.baseGeneration).sorted()
    }

    /// Removes every base but that of `generation`.
    func removeBases(_ volume: String, except generation: UInt64?) throws {
        for other in try baseGenerations(volume) where other != generation {
            try DurableFile.removeIfThere(baseFile(volume, other))
        }
    }

    // MARK: Forms

    private struct StoredFormat: Decodable {
        var format: Int
    }

    private struct StoredRecord: Codable {
        static let currentFormat = 1
        var format = Self.currentFormat
        var copy: CopyRecord
    }

    private static func encode(_ record: CopyRecord) throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        return [UInt8](try encoder.encode(StoredRecord(copy: record)))
    }
}
