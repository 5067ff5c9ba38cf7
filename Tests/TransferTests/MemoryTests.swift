import Errors
import Foundation
import LinuxSystem
import Persistence
import SystemPackage
import TestSupport
import Testing
import TransferTestSupport

/// The memory of transfers, in processes of their own, by the kernel's account of them.
@Suite struct MemoryTests {
    /// What a process has before it begins: the program and its libraries, measured at about 40 MB.
    private static let atRest = Double(48 << 20)
    private static let limit = Double(256 << 20)

    @Test func aTebibyteWithLittleInItTakesLittleMemory() async throws {
        let directory = try TemporaryDirectory("memory")
        let image = FilePath(directory + "image")
        let stored = 640 << 20
        try Self.makeSparse(image, capacity: 1 << 40, data: stored)
        #expect(mkdir(directory + "store", 0o755) == 0)
        let staged = try await Self.probe(["stage-out", image.string, directory + "store", "256", "1"], directory)
        #expect(staged.figures["peakBytes"]! < Self.limit + Self.atRest, "\(staged.figures)")
        #expect(staged.figures["readBytes"]! < Double(stored) * 1.2)
        let root = directory + "root.json"
        try Data(staged.output.utf8).write(to: URL(fileURLWithPath: root))
        let restored = try await Self.probe(["restore", root, directory + "store", directory + "copy"], directory)
        #expect(restored.figures["peakBytes"]! < Self.limit + Self.atRest, "\(restored.figures)")
        let copy = try #require(try FileStatus.of(FilePath(directory + "copy")))
        #expect(copy.sizeBytes == 1 << 40)
        #expect(copy.allocatedBytes < UInt64(stored) * 2)
        // Nothing changed: the copy leads to the very same root.
        let again = try await Self.probe(
            ["stage-out", directory + "copy", directory + "store", "256", "1", root], directory)
        #expect(again.figures["writeRequests"] == 0)
        #expect(again.figures["peakBytes"]! < Self.limit + Self.atRest)
        let roots = try [staged.output, again.output].map {
            try JSONDecoder().decode(MapRoot.self, from: Data($0.utf8))
        }
        #expect(roots[0] == roots[1])
    }

    /// Runs of 4 MiB of noise: two thirds of them one after the other, the others all over the image.
    private static func makeSparse(_ path: FilePath, capacity: UInt64, data: Int) throws {
        let file = try OpenFile(path, O_RDWR | O_CREAT | O_EXCL)
        try file.truncate(toBytes: capacity)
        var random = SeededGenerator(seed: 41)
        let noise = random.noise(8 << 20)
        let run = 4 << 20
        for number in 0..<data / run {
            let isDense = number * run < data / 3 * 2
            let scattered = random.next() % (capacity - UInt64(run)) & ~0xffff
            let offset = isDense ? UInt64(number * run) : scattered
            // Another part of the noise each time, so that no block equals another.
            let start = Int(random.next() % UInt64(run))
            try noise[start..<start + run].withUnsafeBytes { try file.write(at: offset, from: $0) }
        }
    }

    private static func probe(
        _ arguments: [String], _ directory: TemporaryDirectory
    ) async throws -> (output: String, figures: [String: Double]) {
        let process = try await TestProcess.start(
            try PackageRoot.builtProgram("transfer-probe"), arguments, directory: directory)
        let status = try await process.waitForExit(within: .seconds(300))
        guard status == 0 else { throw TestSetupError("transfer-probe ended with \(status): \(process.output)") }
        var figures: [String: Double] = [:]
        var output = ""
        for line in process.output.split(separator: "\n") {
            let words = line.split(separator: " ")
            if words.count == 2, let value = Double(words[1]) {
                figures[String(words[0])] = value
            } else {
                output += line
            }
        }
        return (output, figures)
    }
}
