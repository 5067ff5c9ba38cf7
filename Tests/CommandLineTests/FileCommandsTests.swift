import Foundation
import Persistence
import Settings
import TestSupport
import Testing

/// Files out of a generation, with nothing but the bucket.
@Suite struct FileCommandsTests {
    /// A bucket with one volume whose generation holds a file system of a directory tree.
    private struct Fixture {
        let bucket: SampleBucket
        let volume: String
        let tree: String

        /// - Parameter make: makes the file system in an image of 64 MiB, from a directory.
        init(_ make: (_ image: String, _ tree: String) async throws -> Void) async throws {
            bucket = try await SampleBucket()
            tree = bucket.directory + "tree"
            let files = FileManager.default
            try files.createDirectory(atPath: tree + "/results/empty", withIntermediateDirectories: true)
            var noise = Data(count: 3 << 20)
            for index in noise.indices { noise[index] = UInt8.random(in: 0...255) }
            try noise.write(to: URL(fileURLWithPath: tree + "/results/large"))
            try Data("42\n".utf8).write(to: URL(fileURLWithPath: tree + "/results/answer"))
            try files.setAttributes([.posixPermissions: 0o4750], ofItemAtPath: tree + "/results/answer")
            try files.createSymbolicLink(atPath: tree + "/short", withDestinationPath: "results/answer")
            let long = "results/" + String(repeating: "./", count: 60) + "answer"
            try files.createSymbolicLink(atPath: tree + "/long", withDestinationPath: long)
            try files.createSymbolicLink(atPath: tree + "/circle", withDestinationPath: "circle")
            let image = bucket.directory + "image"
            try await make(image, tree)
            volume = "files"
            try await bucket.stageOut(try Data(contentsOf: URL(fileURLWithPath: image)), asVolume: volume)
        }

        static func ext4() async throws -> Fixture {
            try await Fixture { image, tree in
                try await TestCommand.run("/usr/bin/truncate", ["-s", "64M", image])
                try await TestCommand.run("/sbin/mkfs.ext4", ["-q", "-d", tree, image])
            }
        }

        func perssd(_ arguments: String...) async throws -> Run {
            try await Run.perssd(arguments + ["--store", bucket.url])
        }
    }

    @Test func filesAreListed() async throws {
        let fixture = try await Fixture.ext4()
        let root = try await fixture.perssd("ls", "files")
        #expect(root.exitCode == 0, "\(root.output)")
        let lines = root.output.split(separator: "\n").map(String.init)
        #expect(lines.first?.split(separator: " ").first == "MODE")
        let names = lines.dropFirst().map { $0.split(separator: "  ").last.map(String.init) ?? "" }
        #expect(names.first == "circle -> circle" && names.last == "short -> results/answer")
        #expect(lines.contains { $0.hasPrefix("drwx") && $0.hasSuffix(" results") })

        for path in ["results", "/results/", "/results"] {
            let json = try await fixture.perssd("ls", "files@1", path, "--json")
            #expect(json.exitCode == 0, "\(json.output)")
            let entries = try #require(json.json() as? [[String: Any]])
            #expect(entries.map { $0["name"] as? String } == ["answer", "empty", "large"])
            #expect(entries.map { $0["kind"] as? String } == ["file", "directory", "file"])
            #expect(entries[0]["permissions"] as? String == "4750")
            #expect(entries.map { $0["sizeBytes"] as? Int }[0] == 3)
            #expect(entries.map { $0["sizeBytes"] as? Int }[2] == 3 << 20)
        }
        let file = try await fixture.perssd("ls", "files", "/results/answer")
        #expect(file.output.contains("-rwsr-x---") && file.output.contains(" answer"), "\(file.output)")
        #expect(try await fixture.perssd("ls", "files", "/results/empty").output == "no files\n")
        let long = try await fixture.perssd("ls", "files", "/long", "--json")
        let target = try #require(long.json() as? [[String: Any]])[0]["target"] as? String
        #expect(target?.count == 134 && target?.hasSuffix("./answer") == true)
    }

    @Test func filesArePrinted() async throws {
        let fixture = try await Fixture.ext4()
        for path in ["/results/answer", "short", "/long", "/short"] {
            let run = try await fixture.perssd("cat", "files", path)
            #expect(run.exitCode == 0 && run.output == "42\n", "\(path): \(run.output)")
        }
        // Bytes that are no text, and more than one read has.
        let sums = try await TestCommand.run(
            "/bin/sh",
            [
                "-c", #""$1" cat files /results/large --store "$2" | sha256sum; sha256sum <"$3""#, "sh",
                try PackageRoot.builtProgram("perssd"), fixture.bucket.url, fixture.tree + "/results/large",
            ]
        ).split(separator: "\n")
        #expect(sums.count == 2 && sums[0] == sums[1])
        // Whoever has read enough hears nothing of it.
        let partly = try await TestCommand.run(
            "/bin/sh",
            [
                "-c", #""$1" cat files /results/large --store "$2" | head -c 1000 | wc -c"#, "sh",
                try PackageRoot.builtProgram("perssd"), fixture.bucket.url,
            ])
        #expect(partly == "1000")
    }

    @Test func whatCannotBeReadIsToldOf() async throws {
        let fixture = try await Fixture.ext4()
        func expect(_ code: ExitMeaning, _ words: String, _ arguments: String...) async throws {
            let run = try await Run.perssd(arguments + ["--store", fixture.bucket.url])
            #expect(run.exitCode == code.rawValue && run.output.contains(words), "\(arguments): \(run.output)")
        }
        try await expect(.notFound, "there is no file '/none'", "ls", "files", "/none")
        try await expect(.notFound, "there is no file '/circle'", "cat", "files", "/circle")
        try await expect(.failure, "no directory", "cat", "files", "/results/answer/more")
        try await expect(.failure, "is no regular file", "cat", "files", "/results")
        try await expect(.notFound, "no generation 2", "ls", "files@2")
        try await expect(.failure, "no file system that is known here", "ls", "pvc-one")
        let xfs = try await Fixture { image, _ in
            try await TestCommand.run("/usr/bin/truncate", ["-s", "400M", image])
            try await TestCommand.run("/sbin/mkfs.xfs", ["-q", image])
        }
        let refused = try await xfs.perssd("ls", "files")
        #expect(refused.exitCode == 1 && refused.output.contains("holds an xfs"), "\(refused.output)")
        #expect(refused.output.contains("'perssd restore' it to a file"))

        try fixture.bucket.damage()
        try await expect(.corrupt, "cannot be used", "cat", "files", "/results/large")
    }

    @Test(
        arguments: [
            ("ext4", "64M", ["/sbin/mkfs.ext4", "-q"]), ("xfs", "400M", ["/sbin/mkfs.xfs", "-q"]),
            ("btrfs", "200M", ["/sbin/mkfs.btrfs", "-q"]), ("raw", "8M", ["/usr/bin/shred", "-n", "1"]),
        ]) func whatAVolumeHoldsIsToldByItsFirstBytes(kind: String, size: String, make: [String]) async throws
    {
        let fixture = try await Fixture { image, _ in
            try await TestCommand.run("/usr/bin/truncate", ["-s", size, image])
            try await TestCommand.run(make[0], make.dropFirst() + [image])
        }
        func contents() async throws -> [String: String?] {
            let run = try await fixture.perssd("volumes", "--contents", "--json")
            #expect(run.exitCode == 0, "\(run.output)")
            let listed = try #require(run.json() as? [[String: Any]])
            return Dictionary(
                uniqueKeysWithValues: listed.map { ($0["name"] as? String ?? "", $0["content"] as? String) })
        }
        // The sample volume holds noise, and another one nothing.
        #expect(try await contents() == ["files": kind, "pvc-one": "raw", "pvc-two": nil])
        #expect(try await fixture.perssd("volumes", "--contents").output.contains("HOLDS"))
        let shown = try #require(try await fixture.perssd("show", "files", "--json").json() as? [String: Any])
        #expect(shown["content"] as? String == kind)
        for pack in try fixture.bucket.packs() {
            let size = try Data(contentsOf: pack).count
            try Data(count: size).write(to: pack)
        }
        #expect(try await contents()["files"] == "damaged")
        let text = try await fixture.perssd("show", "files")
        #expect(text.exitCode == 0 && text.output.contains("damaged"), "\(text.output)")
    }
}
