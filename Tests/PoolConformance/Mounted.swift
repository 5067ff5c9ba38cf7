import ArgumentParser
import Foundation
import LinuxSystem
import LocalVolumes
import SystemPackage

/// Cuts a copy while its file system is mounted and written, and looks whether the cut is whole and stays as it is.
struct MountedCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "mounted")

    @OptionGroup var options: PoolOptions
    @Option(help: "ext4 or xfs.")
    var fs = "xfs"

    private static let mebibyte: UInt64 = 1 << 20

    func run() async throws {
        let pool = try await options.open()
        _ = try await pool.recover()
        let record = CopyRecord(
            volume: "mounted-\(fs)", incarnation: "i", lineage: "l", epoch: 1, generation: 0, state: .dirty,
            sizeBytes: 320 << 20, lastUsed: 0)
        _ = try await pool.create(record)
        let device = try await pool.attach(record.volume)
        let kind = try FileSystemKind(parsing: fs)
        try await FileSystems().make(kind, on: device)
        let place = try ScratchMount.mount(fs, device, at: "/run/pool-conformance", ["noatime"])
        let file = place.appending("file")
        try write("before", 8, to: file)
        try await requireError(.failedPrecondition) { try await pool.detach(record.volume) }
        try await requireError(.failedPrecondition) { try await pool.remove(record.volume) }

        if !pool.cutsFreeze { try MountedFileSystem.freeze(place) }
        let cut = try await pool.cut(record.volume)
        if !pool.cutsFreeze { _ = try MountedFileSystem.thaw(place) }
        try write("after!", 8, to: file)
        try await pool.keep(cut, asBaseFor: 1)
        let second = try await pool.cut(record.volume)
        let changes = try await pool.changes(in: second, since: 1) ?? []
        let changed = changes.reduce(0) { $0 + UInt64($1.count) }
        try require(changed >= 8 * Self.mebibyte && changed < 40 * Self.mebibyte, "\(changed) bytes changed")
        say("figure changed-bytes-for-8-MiB-rewritten-on-\(fs) \(changed) bytes")

        // What is deleted and trimmed costs nothing. What mkfs wrote, such as the log of xfs, is allocated before and after.
        let before = try await allocated(pool, second)
        try write("waste", 64, to: place.appending("waste"))
        try DurableFile.removeIfThere(place.appending("waste"))
        _ = try MountedFileSystem.trim(place)
        try await pool.discard(second)
        let third = try await pool.cut(record.volume)
        let trimmed = try await allocated(pool, third)
        try require(
            trimmed < before + 8 * Self.mebibyte, "\(trimmed) bytes are allocated after a trim, \(before) before")

        try Mount.unmount(place)
        let options = fs == "xfs" ? ["ro", "norecovery", "nouuid"] : ["ro", "noload"]
        _ = try ScratchMount.mount(fs, third.path, at: "/run/pool-conformance", options)
        try require(try contents(file).prefix(6) == Array("after!".utf8)[...], "the cut has other contents")
        try Mount.unmount(place)
        try await pool.discard(third)
        try await pool.remove(record.volume)
        say("mounted passed: \(fs) on \(pool.location)")
    }

    private func allocated(_ pool: any VolumePool, _ cut: Cut) async throws -> UInt64 {
        (try await pool.allocatedRanges(of: cut) ?? []).reduce(0) { $0 + UInt64($1.count) }
    }

    private func write(_ word: String, _ mebibytes: Int, to path: FilePath) throws {
        let file = try OpenFile(path, O_RDWR | O_CREAT)
        let bytes = Array(String(repeating: word, count: (1 << 20) / word.utf8.count + 1).utf8.prefix(1 << 20))
        for index in 0..<mebibytes {
            try bytes.withUnsafeBytes { try file.write(at: UInt64(index) << 20, from: $0) }
        }
        try file.sync()
    }

    private func contents(_ path: FilePath) throws -> [UInt8] {
        try DurableFile.read(path, limit: 64 << 20) ?? []
    }
}
