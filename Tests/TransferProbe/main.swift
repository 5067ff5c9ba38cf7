// One transfer in a process of its own, for what only the system can tell of it: peak memory, and CPU time.
//
//     transfer-probe stage-out IMAGE STORE [BLOCK-KIB [LEVEL [PARENT-JSON [BASE-IMAGE]]]]   prints the root as JSON
//     transfer-probe restore JSON STORE IMAGE     makes the image
//     transfer-probe verify JSON STORE
//     transfer-probe fixture DIRECTORY            makes the fixture of the formats' tests, with a new version's bytes
//
// STORE is an existing directory. Figures go to standard error, as "name value" lines.

import Errors
import Foundation
import Persistence
import SystemPackage
import TransferTestSupport

func text(_ index: Int) throws -> String {
    guard CommandLine.arguments.count > index else { throw PerSSDError(.invalidArgument, "an argument is missing") }
    return CommandLine.arguments[index]
}

func root(_ path: String) throws -> MapRoot {
    try JSONDecoder().decode(MapRoot.self, from: Data(contentsOf: URL(fileURLWithPath: path)))
}

func report(_ values: [(String, Double)]) {
    for (name, value) in values { FileHandle.standardError.write(Data("\(name) \(value)\n".utf8)) }
}

func peakMemory() throws -> Double {
    let status = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
    let line = status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
    return (line?.split(separator: " ").dropFirst().first).flatMap { Double($0) }.map { $0 * 1024 } ?? -1
}

func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }

let lineage = "00000000000000000000000000000001"
if try text(1) == "fixture" {
    try await FormatFixture.make(in: text(2))
    exit(0)
}
let store = try await DirectoryStore.open(directory: text(3))
let start = ContinuousClock.now
var statistics = TransferStatistics()
switch try text(1) {
case "stage-out":
    var options = StageOutOptions()
    if let kib = try? Int(text(4)) { options.blockSize = try BlockSize(bytes: kib << 10) }
    if let level = try? Int(text(5)) { options.compressionLevel = level }
    let parent = try? root(text(6))
    let base = try? FileBlockSource(path: FilePath(text(7)))
    let result = try await StageOut(store: store, lineage: lineage, options: options)
        .run(source: try FileBlockSource(path: FilePath(text(2))), changed: .unknown, parent: parent, base: base)
    statistics = result.statistics
    print(String(decoding: try JSONEncoder().encode(result.root), as: UTF8.self))
case "restore":
    let map = try root(text(2))
    let sink = try FileBlockSink(creating: FilePath(text(4)), sizeBytes: map.capacityBytes)
    statistics = try await Restore(store: store, lineage: lineage).run(map, to: sink, have: .zeros)
case "verify":
    let result = try await VerifyMap(store: store, lineage: lineage).run(root(text(2)))
    if let first = result.findings.first { throw first }
    statistics = result.statistics
default:
    throw PerSSDError(.invalidArgument, "no such transfer")
}
let elapsed = ContinuousClock.now - start
var usage = rusage()
getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
report([
    ("peakBytes", try peakMemory()), ("userSeconds", seconds(usage.ru_utime)),
    ("systemSeconds", seconds(usage.ru_stime)),
    ("wallSeconds", Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) / 1e18),
    ("readBytes", Double(statistics.readBytes)), ("storedBytes", Double(statistics.storedBytes)),
    ("nodeBytes", Double(statistics.nodeBytes)), ("sentBytes", Double(statistics.sentBytes)),
    ("writeRequests", Double(statistics.writeRequests)), ("readRequests", Double(statistics.readRequests)),
    ("blocksPatched", Double(statistics.blocksPatched)), ("blocksChanged", Double(statistics.blocksChanged)),
])
