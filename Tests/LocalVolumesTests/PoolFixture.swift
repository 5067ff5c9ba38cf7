import DeviceTestSupport
import Errors
import Foundation
import LinuxSystem
import LocalVolumes
import Logging
import SystemPackage

/// Where a pool's directory lies in a test.
enum PoolPlace: String, CaseIterable, Sendable {
    /// On the machine's own file system, taken as it is.
    case machine
    /// On an XFS of its own, which shares blocks.
    case xfs

    func makeDirectory(in scratch: Scratch) throws -> FilePath {
        switch self {
        case .machine: scratch.appending("pool")
        case .xfs: try scratch.makeFileSystem("xfs", "xfs", size: 2 << 30).appending("pool")
        }
    }
}

let silent = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
let mebibyte: UInt64 = 1 << 20

func openPool(
    _ directory: FilePath, size: UInt64? = 1 << 30, overcommit: Double = 1
) async throws -> (pool: ImagePool, copies: [LocalCopy]) {
    let options = ImagePool.Options(size: size, reserve: 0, overcommit: overcommit)
    let pool = try await ImagePool.open(name: "test", directory: directory, options: options, logger: silent)
    return (pool, try await pool.recover())
}

func newRecord(
    _ volume: String, size: UInt64 = 64 * mebibyte, state: CopyRecord.State = .dirty, generation: UInt64 = 0
) -> CopyRecord {
    CopyRecord(
        volume: volume, incarnation: "i1", lineage: "l1", epoch: 1, generation: generation, state: state,
        sizeBytes: size, lastUsed: 1_700_000_000)
}

/// The error that `body` throws; nil where it throws none.
func failure(isolation: isolated (any Actor)? = #isolation, _ body: () async throws -> Void) async -> PerSSDError? {
    do {
        try await body()
        return nil
    } catch {
        return error as? PerSSDError ?? PerSSDError(wrapping: error, during: "not a PerSSDError")
    }
}

func write(_ bytes: [UInt8], to path: FilePath, at offset: UInt64 = 0) throws {
    let file = try OpenFile(path, O_RDWR)
    try bytes.withUnsafeBytes { try file.write(at: offset, from: $0) }
    try file.sync()
}

func read(_ path: FilePath, at offset: UInt64 = 0, count: Int) throws -> [UInt8] {
    let file = try OpenFile(path, O_RDONLY)
    var bytes = [UInt8](repeating: 0, count: count)
    let read = try bytes.withUnsafeMutableBytes { try file.read(at: offset, into: $0) }
    return Array(bytes.prefix(read))
}

func loops(below path: FilePath) throws -> [LoopDevice] {
    try LoopDevice.all().filter { $0.backingPath.starts(with: path) }
}

/// The program of Tests/LocalVolumesCrashHelper, beside this one.
func crashHelper() throws -> URL {
    let here = URL(fileURLWithPath: try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe"))
    return here.deletingLastPathComponent().appendingPathComponent("local-volumes-crash-helper")
}
