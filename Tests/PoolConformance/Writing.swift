import ArgumentParser
import Commands
import Foundation
import LinuxSystem
import LocalVolumes
import Synchronization
import SystemPackage

/// Cuts a copy again and again while a program writes to its file system, and looks whether each cut is a whole file system
/// that holds all that was synced before, and nothing out of order.
struct WritingCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "writing")

    @OptionGroup var options: PoolOptions
    @Option(help: "ext4 or xfs.")
    var fs = "ext4"
    @Option(help: "How many cuts.")
    var cuts = 4

    func run() async throws {
        let pool = try await options.open()
        _ = try await pool.recover()
        let record = CopyRecord(
            volume: "writing-\(fs)", incarnation: "i", lineage: "l", epoch: 1, generation: 0, state: .dirty,
            sizeBytes: fs == "xfs" ? 320 << 20 : 64 << 20, lastUsed: 0)
        _ = try await pool.create(record)
        let device = try await pool.attach(record.volume)
        try await FileSystems().make(try FileSystemKind(parsing: fs), on: device)
        let place = try ScratchMount.mount(fs, device, at: "/run/pool-conformance-written", ["noatime"])
        let writer = RecordWriter(place.appending("records"))
        for number in 1...cuts {
            try await writer.wait(forMore: 10)
            if !pool.cutsFreeze { try MountedFileSystem.freeze(place) }
            let synced = writer.synced
            let cut = try await pool.cut(record.volume)
            if !pool.cutsFreeze { _ = try MountedFileSystem.thaw(place) }
            let begun = writer.synced + 1
            let held = try await records(in: cut)
            try require(
                (synced...begun).contains(held),
                "cut \(number) holds \(held) records: \(synced) were synced before it, \(begun) begun when it was done")
            say("cut \(number) holds \(held) records, \(synced) to \(begun) were to be expected")
            try await pool.discard(cut)
        }
        try await writer.stop()
        try Mount.unmount(place)
        try await pool.remove(record.volume)
        say("writing passed: \(fs) on \(pool.location)")
    }

    /// How many records a cut holds, after its file system was found to be whole.
    private func records(in cut: Cut) async throws -> UInt64 {
        let check =
            fs == "xfs" ? Command("xfs_repair", ["-n", cut.path.string]) : Command("e2fsck", ["-fn", cut.path.string])
        _ = try await SubprocessRunner().run(check)
        // Without its journal: a freeze leaves nothing in there that is needed.
        let flags = fs == "xfs" ? ["ro", "norecovery", "nouuid"] : ["ro", "noload"]
        let place = try ScratchMount.mount(fs, cut.path, at: "/run/pool-conformance-cut", flags)
        let bytes = try DurableFile.read(place.appending("records"), limit: 64 << 20) ?? []
        try Mount.unmount(place)
        try require(bytes.count % RecordWriter.size == 0, "the cut's file ends within a record")
        for index in 0..<bytes.count / RecordWriter.size {
            let found = bytes[index * RecordWriter.size..<(index + 1) * RecordWriter.size]
            try require(found.elementsEqual(RecordWriter.record(UInt64(index))), "record \(index) is not as written")
        }
        return UInt64(bytes.count / RecordWriter.size)
    }
}

/// Appends numbered records to a file, on a thread of its own, and syncs each.
final class RecordWriter: Sendable {
    static let size = 4096

    private struct State {
        var synced: UInt64 = 0
        var isStopping = false
        var result: Result<Void, any Error>?
    }

    private let state = Mutex(State())

    init(_ path: FilePath) {
        Thread.detachNewThread { [self] in
            let result = Result { try write(to: path) }
            state.withLock { $0.result = result }
        }
    }

    var synced: UInt64 { state.withLock { $0.synced } }

    static func record(_ number: UInt64) -> [UInt8] {
        withUnsafeBytes(of: number.bigEndian) { bytes in (0..<size).map { bytes[$0 % 8] } }
    }

    private func write(to path: FilePath) throws {
        let file = try OpenFile(path, O_RDWR | O_CREAT | O_EXCL)
        var number: UInt64 = 0
        while !state.withLock({ $0.isStopping }) {
            try Self.record(number).withUnsafeBytes { try file.write(at: number * UInt64(Self.size), from: $0) }
            try file.sync()
            number += 1
            state.withLock { $0.synced = number }
        }
    }

    /// Waits until so many more records are synced.
    func wait(forMore count: UInt64) async throws {
        let goal = synced + count
        let deadline = ContinuousClock.now + .seconds(60)
        while synced < goal {
            if let result = state.withLock({ $0.result }) { try result.get() }
            try require(ContinuousClock.now < deadline, "the writer stands still at \(synced) records")
            try await Task.sleep(for: .milliseconds(10))
        }
    }

    func stop() async throws {
        state.withLock { $0.isStopping = true }
        while true {
            if let result = state.withLock({ $0.result }) { return try result.get() }
            try await Task.sleep(for: .milliseconds(10))
        }
    }
}

enum ScratchMount {
    /// Mounts a device at a directory, made where it is missing.
    static func mount(_ fs: String, _ device: FilePath, at path: FilePath, _ flags: [String]) throws -> FilePath {
        try DurableFile.makeDirectory(path)
        let place = try OpenFile(place: path, mustBeDirectory: true)
        var options = MountOptions()
        for flag in flags { if flag == "ro" { options.isReadOnly = true } else { try options.add(flag) } }
        try Mount.fileSystem(fs, device: device, at: place, options: options)
        return path
    }
}
