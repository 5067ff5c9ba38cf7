import Errors
import Foundation
import LinuxSystem
import Persistence
import SystemPackage
import TestSupport
import Testing
import TransferTestSupport

/// Image files and block devices, through the page cache and past it.
@Suite struct FileDeviceTests {
    private func image(_ directory: TemporaryDirectory, _ name: String, bytes: Int) throws -> FilePath {
        let path = FilePath(directory + name)
        let file = try OpenFile(path, O_RDWR | O_CREAT | O_EXCL)
        try file.truncate(toBytes: UInt64(bytes))
        return path
    }

    private func write(_ bytes: [UInt8], at offset: UInt64, of path: FilePath) throws {
        let file = try OpenFile(path, O_RDWR)
        try bytes.withUnsafeBytes { try file.write(at: offset, from: $0) }
        try file.sync()
    }

    private func contents(_ path: FilePath) throws -> [UInt8] {
        [UInt8](try Data(contentsOf: URL(fileURLWithPath: path.string)))
    }

    @Test func holesAreNotAllocated() throws {
        let directory = try TemporaryDirectory("device")
        let path = try image(directory, "image", bytes: 10 << 20)
        #expect(try FileBlockSource(path: path).allocatedRanges().isEmpty)
        try write([UInt8](repeating: 1, count: 65536), at: 1 << 20, of: path)
        try write([UInt8](repeating: 1, count: 100), at: (10 << 20) - 100, of: path)
        let source = try FileBlockSource(path: path)
        let ranges = try source.allocatedRanges()
        #expect(ranges.count == 2)
        let written: Range<UInt64> = 1_048_576..<1_114_112
        #expect(ranges.first == written)
        #expect(ranges.last?.upperBound == 10 << 20)
        #expect(source.sizeBytes == 10 << 20)
    }

    @Test(arguments: [false, true]) func aRoundTripOfAFileThatEndsAnywhere(_ direct: Bool) async throws {
        let fixture = try await TransferFixture()
        var random = SeededGenerator(seed: 31)
        let bytes = random.noise(3_000_000) + [UInt8](repeating: 0, count: 2_000_000) + random.noise(777)
        let path = try image(fixture.directory, "image", bytes: bytes.count)
        try write(bytes, at: 0, of: path)
        let result = try await fixture.stageOut(try FileBlockSource(path: path, direct: direct))
        expectEqual(try await fixture.restored(result.root), bytes)
        let made = FilePath(fixture.directory + "made")
        let sink = try FileBlockSink(creating: made, sizeBytes: UInt64(bytes.count), direct: direct)
        try await fixture.restore(result.root, to: sink)
        expectEqual(try contents(made), bytes)
        // The hole is a hole again.
        let status = try #require(try FileStatus.of(made))
        #expect(status.allocatedBytes < 3_300_000)
    }

    @Test(arguments: [false, true]) func zeroMakesHoles(_ direct: Bool) throws {
        let directory = try TemporaryDirectory("device")
        let path = try image(directory, "image", bytes: 1 << 20)
        try write([UInt8](repeating: 7, count: 1 << 20), at: 0, of: path)
        let sink = try FileBlockSink(path: path, direct: direct)
        try sink.zero(65536..<1 << 20)
        try sink.zero(100..<200)
        try sink.flush()
        var expected = [UInt8](repeating: 7, count: 65536) + [UInt8](repeating: 0, count: (1 << 20) - 65536)
        expected.replaceSubrange(100..<200, with: [UInt8](repeating: 0, count: 100))
        expectEqual(try contents(path), expected)
        #expect(try #require(try FileStatus.of(path)).allocatedBytes <= 128 << 10)
    }

    @Test func whatCannotBeOpenedIsSaid() throws {
        let directory = try TemporaryDirectory("device")
        func code(_ body: () throws -> Void) -> PerSSDError.Code? {
            #expect(throws: PerSSDError.self) { try body() }?.code
        }
        let missing = FilePath(directory + "missing")
        #expect(code { _ = try FileBlockSource(path: missing) } == .notFound)
        #expect(code { _ = try FileBlockSink(path: missing) } == .notFound)
        #expect(code { _ = try FileBlockSource(path: FilePath(directory.path)) } == .invalidArgument)
        #expect(code { _ = try FileBlockSource(path: "/dev/null") } == .invalidArgument)
        let path = try image(directory, "image", bytes: 4096)
        #expect(code { _ = try FileBlockSink(creating: path, sizeBytes: 4096) } == .alreadyExists)
        let source = try FileBlockSource(path: path)
        #expect(truncate(path.string, 100) == 0)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 4096)
        defer { buffer.deallocate() }
        #expect(code { try source.read(at: 0, into: buffer) } == .unavailable)
    }

    /// A loop device, as volumes on a node are: written, restored over, and refused while it is mounted.
    @Test func aBlockDeviceIsReadWrittenAndZeroed() async throws {
        let fixture = try await TransferFixture()
        var random = SeededGenerator(seed: 32)
        let size = 24 << 20
        let backing = try image(fixture.directory, "backing", bytes: size)
        let device = FilePath(try await Self.attach(backing))
        defer { Self.detach(device) }
        let bytes = random.halfCompressible(3 << 20) + [UInt8](repeating: 0, count: size - (3 << 20))
        let result = try await fixture.stageOut(MemoryVolume(bytes))
        for (round, direct) in [false, true, true].enumerated() {
            try write(random.noise(6 << 20), at: 0, of: device)
            try await fixture.restore(result.root, to: try FileBlockSink(path: device, direct: direct), have: .unknown)
            let again = try await fixture.stageOut(try FileBlockSource(path: device, direct: direct))
            #expect(again.root.contentDigest == result.root.contentDigest, "round \(round)")
        }
        // What was zeroed is given back to the backing file.
        #expect(try #require(try FileStatus.of(backing)).allocatedBytes < 4 << 20)
        let holder = try OpenFile(device, O_RDWR | O_EXCL)
        let error = #expect(throws: PerSSDError.self) { _ = try FileBlockSink(path: device) }
        #expect(error?.code == .failedPrecondition)
        _ = holder.descriptor
    }

    private static func attach(_ backing: FilePath) async throws -> String {
        let program = try PackageRoot.systemProgram("losetup", package: "mount")
        let directory = try TemporaryDirectory("losetup")
        let process = try await TestProcess.start(program, ["--find", "--show", backing.string], directory: directory)
        guard try await process.waitForExit() == 0 else {
            throw TestSetupError("losetup cannot make a loop device: run the tests as root. \(process.output)")
        }
        return process.output.trimmingCharacters(in: .whitespacesAndNewlines)
    }

    private static func detach(_ device: FilePath) {
        guard let file = try? OpenFile(device, O_RDONLY) else { return }
        let loopClearFileDescriptor: UInt = 0x4C01
        _ = ioctl(file.descriptor, loopClearFileDescriptor)
    }
}
