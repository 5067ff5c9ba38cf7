import DeviceTestSupport
import Errors
import Foundation
import LinuxSystem
import SystemPackage
import Testing

@Suite(.serialized) struct LoopDeviceTests {
    @Test func attachesFindsAndDetaches() async throws {
        try await Scratch.with { scratch in
            let image = try scratch.makeImage("an image", size: 4 << 20)
            let loop = try LoopDevice.attach(image)
            #expect(loop.isDirect && loop.isWhole && !loop.isReadOnly && !loop.isBackingDeleted)
            #expect(loop.backingPath == image)
            #expect(loop.backingInode == (try FileStatus.of(image))?.inode)
            #expect(loop.backingDevice == (try FileStatus.of(image))?.device)
            #expect(try LoopDevice.all().contains(loop))
            #expect(try BlockDevice.sizeBytes(loop.path) == 4 << 20)
            try write(Array("written".utf8), to: loop.path)
            try loop.detach()
            #expect(try LoopDevice.attached(loop.number) == nil)
            #expect(try Data(contentsOf: URL(fileURLWithPath: image.string)).prefix(7) == Data("written".utf8))
            try loop.detach()
        }
    }

    @Test func knowsADeviceWhoseFileIsGone() async throws {
        try await Scratch.with { scratch in
            let image = try scratch.makeImage("image", size: 4 << 20)
            let loop = try LoopDevice.attach(image)
            try DurableFile.removeIfThere(image)
            let found = try #require(try LoopDevice.attached(loop.number))
            #expect(found.isBackingDeleted && found.backingPath == image)
            try found.detach()
            #expect(try LoopDevice.attached(loop.number) == nil)
        }
    }

    @Test func oneWhoseFileSystemHasFailedKeepsNobodyFromTheOthers() async throws {
        try await Scratch.with { scratch in
            let failing = try scratch.makeFileSystem("failing", "xfs", size: 320 << 20)
            let file = failing.appending("image")
            try OpenFile(file, O_RDWR | O_CREAT).truncate(toBytes: 4 << 20)
            let lost = try LoopDevice.attach(file)
            let other = try LoopDevice.attach(try scratch.makeImage("image", size: 4 << 20))
            try scratch.run("xfs_io", ["-x", "-c", "shutdown", failing.string])
            let error = #expect(throws: PerSSDError.self) { try LoopDevice.attached(lost.number) }
            #expect(error?.errno == .ioError)
            let found = try LoopDevice.all()
            #expect(found.contains(other) && !found.contains { $0.number == lost.number })
            try scratch.run("losetup", ["-d", lost.path.string])
            try other.detach()
        }
    }

    @Test func aReadOnlyDeviceCannotBeWritten() async throws {
        try await Scratch.with { scratch in
            let loop = try LoopDevice.attach(try scratch.makeImage("image", size: 4 << 20), readOnly: true)
            #expect(loop.isReadOnly)
            #expect(throws: PerSSDError.self) { try write([1], to: loop.path) }
            try loop.detach()
        }
    }

    @Test func keepsADeviceThatIsOpenOrMounted() async throws {
        try await Scratch.with { scratch in
            let image = try scratch.makeImage("image", size: 32 << 20)
            let loop = try LoopDevice.attach(image)
            do {
                let holder = try OpenFile(loop.path, O_RDONLY)
                let error = #expect(throws: PerSSDError.self) { try loop.detach() }
                #expect(error?.code == .failedPrecondition)
                #expect(error?.message.contains("pid \(getpid())") == true)
                #expect(try holder.status().kind == .blockDevice)
            }
            // Nor does it go when the last one closes it.
            #expect(try LoopDevice.attached(loop.number) == loop)
            try scratch.run("mkfs.ext4", ["-q", loop.path.string])
            let target = try scratch.makeDirectory("target")
            try Mount.fileSystem("ext4", device: loop.path, at: try OpenFile(place: target), options: MountOptions())
            let error = #expect(throws: PerSSDError.self) { try loop.detach() }
            #expect(error?.code == .failedPrecondition && error?.message.contains("mounted") == true)
            try Mount.unmount(target)
            try loop.detach()
        }
    }

    @Test func detachesInSpiteOfAShortLook() async throws {
        try await Scratch.with { scratch in
            let loop = try LoopDevice.attach(try scratch.makeImage("image", size: 4 << 20))
            let process = Process()
            process.executableURL = URL(fileURLWithPath: "/bin/sh")
            process.arguments = ["-c", "exec <\(loop.path.string); echo open; sleep 0.3"]
            let pipe = Pipe()
            process.standardOutput = pipe
            try process.run()
            #expect(pipe.fileHandleForReading.availableData == Data("open\n".utf8))
            try loop.detach()
            #expect(try LoopDevice.attached(loop.number) == nil)
            process.waitUntilExit()
        }
    }

    @Test func attachesMoreThanTheKernelHasAtStartSideBySide() async throws {
        try await Scratch.with { scratch in
            let images = try (0..<20).map { try scratch.makeImage("image\($0)", size: 1 << 20) }
            let loops = try await withThrowingTaskGroup(of: LoopDevice.self) { group in
                for image in images { group.addTask { try LoopDevice.attach(image) } }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(Set(loops.map(\.number)).count == images.count)
            #expect(Set(loops.map(\.backingPath)) == Set(images))
            for loop in loops { try loop.detach() }
        }
    }

    @Test func growsZeroesAndPunches() async throws {
        try await Scratch.with { scratch in
            let image = try scratch.makeImage("image", size: 4 << 20)
            let loop = try LoopDevice.attach(image)
            let ones = [UInt8](repeating: 1, count: 4 << 20)
            try write(ones, to: loop.path)
            #expect(try FileStatus.of(image)?.allocatedBytes ?? 0 >= 4 << 20)
            try BlockDevice.zero(loop.path, 0..<(1 << 20))
            try BlockDevice.discard(loop.path, (1 << 20)..<(4 << 20))
            #expect(try FileStatus.of(image)?.allocatedBytes ?? .max <= 1 << 20)
            let file = try OpenFile(image, O_RDWR)
            try file.truncate(toBytes: 8 << 20)
            try loop.takeOverSize()
            #expect(try BlockDevice.sizeBytes(loop.path) == 8 << 20)
            try loop.detach()
        }
    }

    @Test func readOnlyForAllAndBack() async throws {
        try await Scratch.with { scratch in
            let loop = try LoopDevice.attach(try scratch.makeImage("image", size: 1 << 20))
            try BlockDevice.setReadOnly(loop.path, true)
            #expect(throws: PerSSDError.self) { try write([1], to: loop.path) }
            try BlockDevice.setReadOnly(loop.path, false)
            try write([1], to: loop.path)
            try loop.detach()
        }
    }

    private func write(_ bytes: [UInt8], to path: FilePath) throws {
        let file = try OpenFile(path, O_RDWR)
        try bytes.withUnsafeBytes { try file.write(at: 0, from: $0) }
        try file.sync()
    }
}

@Suite struct FileExtentsTests {
    @Test func showsWhereAFilesBlocksAre() async throws {
        try await Scratch.with { scratch in
            let directory = try scratch.makeFileSystem("fs", "xfs", size: 320 << 20)
            let path = directory.appending("file")
            let file = try OpenFile(path, O_RDWR | O_CREAT)
            try file.truncate(toBytes: 64 << 20)
            // Every other block, so that one batch does not hold all extents.
            let block = [UInt8](repeating: 1, count: 4096)
            for index in 0..<1500 as Range<UInt64> {
                try block.withUnsafeBytes { try file.write(at: index * 8192, from: $0) }
            }
            var extents = try FileExtents(of: path)
            var covered: [UInt64] = []
            while let extent = try extents.nextExtent() {
                #expect(extent.isPlain)
                if !extent.isUnwritten {
                    covered += stride(from: extent.logical.lowerBound, to: extent.logical.upperBound, by: 4096)
                }
            }
            #expect(covered == (0..<1500).map { $0 * 8192 })
            #expect(try file.firstData(from: 1) == 1)
            #expect(try file.firstData(from: 4096) == 8192)
            #expect(try file.firstData(from: 1500 * 8192) == nil)
        }
    }

    @Test func clonesShareWhereTheFileSystemCan() async throws {
        try await Scratch.with { scratch in
            let directory = try scratch.makeFileSystem("fs", "xfs", size: 320 << 20)
            try DurableFile.write([UInt8](repeating: 7, count: 100_000), to: directory.appending("a"))
            try Reflink.clone(directory.appending("a"), to: directory.appending("b"))
            #expect(try DurableFile.read(directory.appending("b"))?.count == 100_000)
            let small = try scratch.makeFileSystem("ext4", "ext4", size: 16 << 20)
            try DurableFile.write([1], to: small.appending("a"))
            let error = #expect(throws: PerSSDError.self) {
                try Reflink.clone(small.appending("a"), to: small.appending("b"))
            }
            #expect(error?.code == .unsupported)
            #expect(try FileStatus.of(small.appending("b")) == nil)
        }
    }
}
