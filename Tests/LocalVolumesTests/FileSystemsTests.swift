import Commands
import DeviceTestSupport
import Errors
import Foundation
import LinuxSystem
import LocalVolumes
import SystemPackage
import Testing

@Suite struct FileSystemsTests {
    private let fileSystems = FileSystems()

    @Test(arguments: FileSystemKind.allCases)
    func makesFindsMountsAndGrows(_ kind: FileSystemKind) async throws {
        try await Scratch.with { scratch in
            let image = try scratch.makeImage("image", size: 512 * mebibyte)
            let loop = try LoopDevice.attach(image)
            #expect(try await fileSystems.contents(of: loop.path) == .nothing)
            #expect(
                await failure { try await fileSystems.prepareForMount(kind, on: loop.path) }?.code
                    == .failedPrecondition)
            try await fileSystems.make(kind, on: loop.path)
            #expect(try await fileSystems.contents(of: loop.path) == .fileSystem(kind))
            // What a first stage-out has to look at is next to nothing.
            #expect(try nonZeroBytes(of: image) < 1 * mebibyte)
            try await fileSystems.prepareForMount(kind, on: loop.path)
            try await fileSystems.verify(kind, on: loop.path)
            #expect(try await !fileSystems.canGrow(kind, on: loop.path))

            let publisher = try await Publisher(stateDirectory: scratch.appending("state"), logger: silent)
            let mounted = try await publisher.stage("v", device: loop.path, kind: kind)
            let before = try await publisher.stats(of: "v")
            #expect(before.totalBytes > 400 * mebibyte && before.availableBytes > before.totalBytes / 10 * 9)
            try DurableFile.write([UInt8](repeating: 1, count: 100_000), to: mounted.appending("file"))
            try OpenFile(image, O_RDWR).truncate(toBytes: 768 * mebibyte)
            try loop.takeOverSize()
            // A mounted ext4 grows only with CAP_SYS_RESOURCE, which a container of a build farm may lack.
            if kind != .ext4 {
                try await fileSystems.grow(kind, on: loop.path, mountedAt: mounted)
            } else {
                try await publisher.unstage("v")
                try await fileSystems.grow(kind, on: loop.path, mountedAt: nil)
                _ = try await publisher.stage("v", device: loop.path, kind: kind)
            }
            #expect(try await publisher.stats(of: "v").totalBytes > before.totalBytes + 200 * mebibyte)
            #expect(try DurableFile.read(mounted.appending("file"))?.count == 100_000)
            try await publisher.unstage("v")
            #expect(try await !fileSystems.canGrow(kind, on: loop.path))
            try await fileSystems.verify(kind, on: loop.path)
        }
    }

    @Test func isMadeAsTheSettingsSay() async throws {
        try await Scratch.with { scratch in
            let settings = FileSystemSettings(
                bytesPerInode: 1 << 20, reservedPercent: 5, journalBytes: 80 * mebibyte)
            let ext4 = try LoopDevice.attach(try scratch.makeImage("ext4", size: 2 << 30))
            try await fileSystems.make(.ext4, on: ext4.path, settings: settings)
            let said = try scratch.run("dumpe2fs", ["-h", ext4.path.string])
            let facts = Dictionary(
                said.split(separator: "\n").compactMap { line -> (String, String)? in
                    let parts = line.split(separator: ":", maxSplits: 1)
                    return parts.count == 2 ? (String(parts[0]), parts[1].trimmingCharacters(in: .whitespaces)) : nil
                }, uniquingKeysWith: { first, _ in first })
            #expect(facts["Inode count"] == "2048")
            #expect(facts["Reserved block count"] == "\((2 << 30) / 4096 / 20)")
            #expect(facts["Total journal blocks"] == "\(80 * 256)" || facts["Total journal size"] == "80M")

            let xfs = try LoopDevice.attach(try scratch.makeImage("xfs", size: 1 << 30))
            try await fileSystems.make(.xfs, on: xfs.path, settings: settings)
            #expect(try scratch.run("xfs_info", [xfs.path.string]).contains("blocks=\(80 * 256)"))
        }
    }

    /// resize2fs leaves out a last group of blocks that would be too small; asked again at each publish, that would cost a
    /// check of the whole file system each time.
    @Test(arguments: FileSystemKind.allCases) func knowsWhetherThereIsMoreToHave(_ kind: FileSystemKind) async throws {
        try await Scratch.with { scratch in
            let image = try scratch.makeImage("image", size: 320 * mebibyte)
            let loop = try LoopDevice.attach(image)
            try await fileSystems.make(kind, on: loop.path)
            let publisher = try await Publisher(stateDirectory: scratch.appending("state"), logger: silent)
            // Borders of ext4's groups lie at 384 and 512 MiB; the fourth group has a copy of the superblock.
            for size in [324, 384, 388, 392, 396, 508, 512, 516, 520] as [UInt64] {
                try OpenFile(image, O_RDWR).truncate(toBytes: size * mebibyte)
                try loop.takeOverSize()
                let canGrow = try await fileSystems.canGrow(kind, on: loop.path)
                if kind == .ext4 {
                    let before = try read(loop.path, at: 1024 + 4, count: 4)
                    try await fileSystems.grow(kind, on: loop.path, mountedAt: nil)
                    #expect(canGrow == (try read(loop.path, at: 1024 + 4, count: 4) != before), "at \(size) MiB")
                } else {
                    #expect(canGrow, "at \(size) MiB")
                    let path = try await publisher.stage("v", device: loop.path, kind: kind)
                    try await fileSystems.grow(kind, on: loop.path, mountedAt: path)
                    try await publisher.unstage("v")
                }
                #expect(try await !fileSystems.canGrow(kind, on: loop.path), "at \(size) MiB")
            }
            try await fileSystems.verify(kind, on: loop.path)
        }
    }

    @Test func nothingIsWrittenAfterTheMountThatNobodyWrote() async throws {
        try await Scratch.with { scratch in
            let image = try scratch.makeImage("image", size: 2 << 30)
            let loop = try LoopDevice.attach(image)
            try await fileSystems.make(.ext4, on: loop.path)
            let publisher = try await Publisher(stateDirectory: scratch.appending("state"), logger: silent)
            _ = try await publisher.stage("v", device: loop.path, kind: .ext4)
            let before = try FileStatus.of(image)?.allocatedBytes ?? 0
            // ext4's thread that initialises inode tables starts within a second or so, and would take 32 MiB here.
            try await Task.sleep(for: .seconds(3))
            let after = try FileStatus.of(image)?.allocatedBytes ?? 0
            #expect(after < before + mebibyte)
            try await publisher.unstage("v")
        }
    }

    @Test(arguments: FileSystemKind.allCases) func isNeverMadeOverData(_ kind: FileSystemKind) async throws {
        try await Scratch.with { scratch in
            let size = 320 * mebibyte
            let contents: [(String, (LoopDevice) throws -> Void)] = [
                ("ext4", { try scratch.run("mkfs.ext4", ["-q", $0.path.string]) }),
                ("swap", { try scratch.run("mkswap", [$0.path.string]) }),
                ("data of no known kind", { try write([1], to: $0.path, at: 70_000) }),
                ("data of no known kind", { try write([1], to: $0.path, at: size - 100) }),
                ("partition table", { try write([UInt8](repeating: 0, count: 446) + Self.partition, to: $0.path) }),
            ]
            for (index, (words, fill)) in contents.enumerated() {
                let loop = try LoopDevice.attach(try scratch.makeImage("image\(index)", size: size))
                try fill(loop)
                let before = try read(loop.path, count: 1 << 20)
                let error = await failure { try await fileSystems.make(kind, on: loop.path) }
                #expect(error?.code == .failedPrecondition)
                #expect(error?.message.contains(words) == true, "\(error?.message ?? "no error")")
                #expect(try read(loop.path, count: 1 << 20) == before)
            }
        }
    }

    /// One partition of type Linux over some MiB, and the signature of a master boot record.
    private static let partition: [UInt8] =
        [0, 0, 2, 0, 0x83, 0, 3, 0, 0, 8, 0, 0, 0, 0x20, 0, 0] + [UInt8](repeating: 0, count: 48) + [0x55, 0xaa]

    @Test func refusesDevicesThatAreTooSmall() async throws {
        try await Scratch.with { scratch in
            let loop = try LoopDevice.attach(try scratch.makeImage("image", size: 299 * mebibyte))
            let error = await failure { try await fileSystems.make(.xfs, on: loop.path) }
            #expect(error?.code == .outOfRange && error?.message.contains("300 MiB") == true)
            for kind in FileSystemKind.allCases {
                let least = try LoopDevice.attach(try scratch.makeImage(kind.rawValue, size: kind.minimumBytes))
                try await fileSystems.make(kind, on: least.path)
                try await fileSystems.verify(kind, on: least.path)
            }
            #expect(throws: PerSSDError.self) { try FileSystemKind(parsing: "ntfs") }
        }
    }

    @Test func repairsAnExt4ThatHasNotedErrors() async throws {
        try await Scratch.with { scratch in
            let loop = try LoopDevice.attach(try scratch.makeImage("image", size: 64 * mebibyte))
            try await fileSystems.make(.ext4, on: loop.path)
            // A wrong count of free blocks in a file system that says it has errors: what a preen corrects.
            try scratch.run("debugfs", ["-w", "-R", "set_super_value state 3", loop.path.string])
            try await fileSystems.prepareForMount(.ext4, on: loop.path)
            try await fileSystems.verify(.ext4, on: loop.path)
            let state = try read(loop.path, at: 1024 + 58, count: 1)[0]
            #expect(state == 1)
        }
    }

    @Test func refusesAnExt4ThatNeedsADecision() async throws {
        try await Scratch.with { scratch in
            let loop = try LoopDevice.attach(try scratch.makeImage("image", size: 64 * mebibyte))
            try await fileSystems.make(.ext4, on: loop.path)
            try scratch.run("debugfs", ["-w", "-R", "clri <2>", loop.path.string])
            try scratch.run("debugfs", ["-w", "-R", "set_super_value state 3", loop.path.string])
            #expect(await failure { try await fileSystems.prepareForMount(.ext4, on: loop.path) }?.code == .corrupt)
            #expect(await failure { try await fileSystems.verify(.ext4, on: loop.path) }?.code == .corrupt)
        }
    }

    @Test func twoClonesOfAnXFSMountSideBySide() async throws {
        try await Scratch.with { scratch in
            let first = try scratch.makeImage("first", size: 320 * mebibyte)
            let loop = try LoopDevice.attach(first)
            try await fileSystems.make(.xfs, on: loop.path)
            try scratch.run("cp", ["--sparse=always", first.string, scratch.appending("second").string])
            let other = try LoopDevice.attach(scratch.appending("second"))
            let publisher = try await Publisher(stateDirectory: scratch.appending("state"), logger: silent)
            _ = try await publisher.stage("a", device: loop.path, kind: .xfs)
            _ = try await publisher.stage("b", device: other.path, kind: .xfs)
            try await publisher.unstage("a")
            try await publisher.unstage("b")
        }
    }

    /// Linux 6.7 and later give the second one a UUID of its own for as long as it is mounted; before that it is refused.
    @Test func twoClonesOfABtrfsAreNeverMistakenForEachOther() async throws {
        try await Scratch.with { scratch in
            let first = try scratch.makeImage("first", size: 128 * mebibyte)
            let loop = try LoopDevice.attach(first)
            try await fileSystems.make(.btrfs, on: loop.path)
            let publisher = try await Publisher(stateDirectory: scratch.appending("state"), logger: silent)
            let mounted = try await publisher.stage("a", device: loop.path, kind: .btrfs)
            try DurableFile.write([1], to: mounted.appending("both"))
            #expect(try await publisher.unstage("a") == .btrfs)
            try BlockDevice.flush(loop.path)
            try scratch.run("cp", ["--sparse=always", first.string, scratch.appending("second").string])
            let other = try LoopDevice.attach(scratch.appending("second"))

            _ = try await publisher.stage("a", device: loop.path, kind: .btrfs)
            try DurableFile.write([1], to: mounted.appending("only in the first"))
            let tellsThemApart = FileManager.default.fileExists(atPath: "/sys/fs/btrfs/features/temp_fsid")
            if tellsThemApart {
                let second = try await publisher.stage("b", device: other.path, kind: .btrfs)
                #expect(try DurableFile.names(in: second) == ["both"])
                try DurableFile.write([2], to: second.appending("only in the second"))
                #expect(try DurableFile.names(in: mounted).sorted() == ["both", "only in the first"])
                try await publisher.publish("b", at: scratch.appending("target").string, readOnly: false)
                #expect(try await publisher.publishedTargets(of: other.path).count == 1)
                #expect(try await publisher.publishedTargets(of: loop.path).isEmpty)
                try await publisher.unpublish(device: other.path, from: scratch.appending("target").string)
                try await publisher.unstage("b")
            } else {
                let error = await failure { _ = try await publisher.stage("b", device: other.path, kind: .btrfs) }
                #expect(error?.code == .failedPrecondition && error?.message.contains("same UUID") == true)
            }
            try await publisher.unstage("a")
            try await fileSystems.forget(loop.path)
            try await fileSystems.forget(other.path)
            try await fileSystems.verify(.btrfs, on: loop.path)
            try await fileSystems.verify(.btrfs, on: other.path)
        }
    }

    @Test func forgetsAnUnmountedBtrfsOnce() async throws {
        try await Scratch.with { scratch in
            let loop = try LoopDevice.attach(try scratch.makeImage("image", size: 128 * mebibyte))
            try await fileSystems.make(.btrfs, on: loop.path)
            try scratch.run("btrfs", ["device", "scan", loop.path.string])
            for _ in 0..<2 { try await fileSystems.forget(loop.path) }
        }
    }

    private func nonZeroBytes(of image: FilePath) throws -> UInt64 {
        let file = try OpenFile(image, O_RDONLY)
        let zeros = [UInt8](repeating: 0, count: 65536)
        var piece = zeros
        var sum: UInt64 = 0
        var offset = try file.firstData(from: 0)
        while let start = offset.map({ $0 / 65536 * 65536 }) {
            let count = try piece.withUnsafeMutableBytes { try file.read(at: start, into: $0) }
            if memcmp(piece, zeros, count) != 0 { sum += UInt64(count) }
            offset = try file.firstData(from: start + 65536)
        }
        return sum
    }
}
