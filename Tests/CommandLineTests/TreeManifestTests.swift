import Foundation
import Glibc
import TestSupport
import Testing

@testable import perssd

/// The demo's comparison notices each thing that can differ.
@Suite struct TreeManifestTests {
    private struct Change: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var expected: [String]
        var make: @Sendable (_ root: String) throws -> Void

        init(_ description: String, _ expected: [String], _ make: @escaping @Sendable (_ root: String) throws -> Void) {
            (testDescription, self.expected, self.make) = (description, expected, make)
        }
    }

    private static let changes = [
        Change("contents", ["./perssd-demo/old: contents differs"]) { root in
            // The time is put back, so that only a hash can tell.
            let path = "\(root)/perssd-demo/old"
            var status = stat()
            lstat(path, &status)
            let file = try FileHandle(forUpdating: URL(fileURLWithPath: path))
            try file.write(contentsOf: Data("L".utf8))
            try file.close()
            utimensat(AT_FDCWD, path, [status.st_atim, status.st_mtim], 0)
        },
        Change("mode", ["./perssd-demo/large: mode differs"]) { chmod("\($0)/perssd-demo/large", 0o444) },
        Change("owner", ["./perssd-demo/large: owner differs"]) { lchown("\($0)/perssd-demo/large", 7, 8) },
        Change("time", ["./perssd-demo/large: time differs"]) { root in
            utimensat(AT_FDCWD, "\(root)/perssd-demo/large", [timespec(), timespec(tv_sec: 1, tv_nsec: 1)], 0)
        },
        Change("extended attributes", ["./perssd-demo/attributes: extended attributes differs"]) { root in
            let handle = Process()
            handle.executableURL = URL(fileURLWithPath: "/usr/bin/python3")
            handle.arguments = [
                "-c", "import os,sys; os.setxattr(sys.argv[1], 'user.perssd', b'x')", "\(root)/perssd-demo/attributes",
            ]
            try handle.run()
            handle.waitUntilExit()
        },
        Change(
            "a hard link that became a copy",
            ["./perssd-demo: time differs", "./perssd-demo/name-two: link differs"]
        ) { root in
            let (one, two) = ("\(root)/perssd-demo/name-one", "\(root)/perssd-demo/name-two")
            var status = stat()
            lstat(one, &status)
            unlink(two)
            try Data(contentsOf: URL(fileURLWithPath: one)).write(to: URL(fileURLWithPath: two))
            utimensat(AT_FDCWD, two, [status.st_atim, status.st_mtim], 0)
            chmod(two, status.st_mode & 0o7777)
        },
        Change(
            "a symbolic link's target",
            ["./perssd-demo: time differs", "./perssd-demo/symbolic: link differs"]
        ) { root in
            var status = stat()
            let path = "\(root)/perssd-demo/symbolic"
            lstat(path, &status)
            unlink(path)
            symlink("name-two", path)
            utimensat(AT_FDCWD, path, [status.st_atim, status.st_mtim], AT_SYMLINK_NOFOLLOW)
        },
        Change("a missing file", ["./perssd-demo: time differs", "./perssd-demo/large: is missing"]) {
            unlink("\($0)/perssd-demo/large")
        },
        Change("a new file", ["./perssd-demo: time differs", "./perssd-demo/extra: is new"]) {
            try Data().write(to: URL(fileURLWithPath: "\($0)/perssd-demo/extra"))
        },
    ]

    @Test(arguments: changes) private func aChangeIsNoticed(change: Change) async throws {
        let directory = try TemporaryDirectory("tree")
        try await SampleTree.make(in: directory.path)
        let before = try await TreeManifest.of(directory.path)
        #expect(try await before.differences(to: TreeManifest.of(directory.path)) == [])
        try change.make(directory.path)
        #expect(try await before.differences(to: TreeManifest.of(directory.path)) == change.expected)
    }

    @Test func aFaithfulCopyIsTheSame() async throws {
        let directory = try TemporaryDirectory("tree")
        let (from, to) = (directory + "from", directory + "to")
        mkdir(from, 0o755)
        try await SampleTree.make(in: from)
        try await TestCommand.run("/usr/bin/cp", ["--archive", "--no-target-directory", from, to])
        let manifest = try await TreeManifest.of(from)
        #expect(try await manifest.differences(to: TreeManifest.of(to)) == [])
        // 8 MiB, a sparse 64 MiB, and some lines; each name of a file counts, its bytes only once.
        #expect(manifest.files == 7)
        #expect(manifest.bytes > 72 << 20 && manifest.bytes < 73 << 20)
        #expect(try await SampleTree.change(in: to) > 64 << 10)
        let differences = try await manifest.differences(to: TreeManifest.of(to))
        #expect(differences.contains("./perssd-demo/large: contents differs"))
        #expect(differences.contains("./perssd-demo/new: is new"))
    }
}
