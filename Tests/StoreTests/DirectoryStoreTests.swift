import Errors
import Foundation
import Persistence
import TestSupport
import Testing

@Suite struct DirectoryStoreOpeningTests {
    @Test func anEmptyDirectoryBecomesAStoreAndStaysOne() async throws {
        let directory = try TemporaryDirectory()
        let store = try await DirectoryStore.open(location: "file://\(directory.path)/")
        _ = try await store.write("a/b", [1, 2], condition: .absent)
        #expect(store.location == "file://\(directory.path)")
        let again = try await DirectoryStore.open(directory: directory.path)
        #expect(try await again.read("a/b")?.bytes == [1, 2])
        try await again.check()
    }

    @Test func aDirectoryWithOtherThingsIsRefusedAndLeftAsItIs() async throws {
        let directory = try TemporaryDirectory()
        try Data("x".utf8).write(to: URL(fileURLWithPath: directory + "thesis.txt"))
        let error = try #require(await failure { try await DirectoryStore.open(directory: directory.path) })
        #expect(error.code == .failedPrecondition && error.description.contains("thesis.txt"))
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory.path) == ["thesis.txt"])
    }

    @Test func whatIsNoDirectoryIsRefused() async throws {
        let directory = try TemporaryDirectory()
        try Data().write(to: URL(fileURLWithPath: directory + "file"))
        #expect(await code { try await DirectoryStore.open(directory: directory + "missing") } == .storeMissing)
        #expect(await code { try await DirectoryStore.open(directory: directory + "file") } == .storeMissing)
        #expect(await code { try await DirectoryStore.open(directory: "relative/path") } == .invalidArgument)
        #expect(await code { try await DirectoryStore.open(directory: "/tmp/a\0b") } == .invalidArgument)
    }

    @Test(arguments: [
        "file://host/path", "file:relative", "/path", "s3://bucket", "file:///a%2", "file:///a?b", "file:///a%00",
    ])
    func locationsThatAreNoneAreRefused(_ location: String) {
        #expect(throws: PerSSDError.self) { try DirectoryStore.directory(ofLocation: location) }
    }

    @Test func locationsMayHaveSpacesAndSlashesAtTheEnd() throws {
        #expect(try DirectoryStore.directory(ofLocation: "file:///with%20space/x//") == "/with space/x")
        #expect(try DirectoryStore.directory(ofLocation: "file:///") == "/")
    }

    @Test(arguments: [
        ("PerSSD directory store\nlayout 2\nid 0\n", PerSSDError.Code.unsupported, "layout 2"),
        ("PerSSD direc", .corrupt, ".perssd/store"), ("", .corrupt, ".perssd/store"),
    ])
    func aMarkerFromTheFutureOrDamagedIsRefused(
        _ text: String, _ code: PerSSDError.Code, _ words: String
    ) async throws {
        let directory = try TemporaryDirectory()
        _ = try await DirectoryStore.open(directory: directory.path)
        try Data(text.utf8).write(to: URL(fileURLWithPath: directory + ".perssd/store"))
        let error = try #require(await failure { try await DirectoryStore.open(directory: directory.path) })
        #expect(error.code == code && error.description.contains(words), "\(error)")
    }

    /// As when the shared file system is unmounted under a running process.
    @Test func aDirectoryThatIsNotOursAnyMoreIsNoEmptyStore() async throws {
        let directory = try TemporaryDirectory()
        let path = directory + "mount"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
        let store = try await DirectoryStore.open(directory: path)
        _ = try await store.write("a", [1], condition: .absent)
        try FileManager.default.moveItem(atPath: path, toPath: directory + "away")
        #expect(await code { try await store.read("a") } == .storeMissing)
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
        #expect(await code { try await store.read("a") } == .unavailable)
        #expect(await code { try await store.write("b", [1], condition: .absent) } == .unavailable)
        #expect(await code { try await store.check() } == .unavailable)
        #expect(try FileManager.default.contentsOfDirectory(atPath: path).isEmpty)
        try FileManager.default.removeItem(atPath: path)
        try FileManager.default.moveItem(atPath: directory + "away", toPath: path)
        #expect(try await store.read("a")?.bytes == [1])
    }

    @Test func onlyOldTemporaryFilesAreCleared() async throws {
        let directory = try TemporaryDirectory()
        _ = try await DirectoryStore.open(directory: directory.path)
        let names = ["old": String(repeating: "0a", count: 16), "young": String(repeating: "0b", count: 16)]
        for name in names.values {
            try Data("x".utf8).write(to: URL(fileURLWithPath: directory + ".perssd/tmp/\(name)"))
        }
        let longAgo = [FileAttributeKey.modificationDate: Date(timeIntervalSinceNow: -25 * 3600)]
        try FileManager.default.setAttributes(longAgo, ofItemAtPath: directory + ".perssd/tmp/\(names["old"]!)")
        _ = try await DirectoryStore.open(directory: directory.path)
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory + ".perssd/tmp") == [names["young"]!])
    }
}

@Suite struct DirectoryStoreTests {
    @Test func namesThatCannotBeFilesAreRefused() async throws {
        let (store, directory) = try await make()
        defer { withExtendedLifetime(directory) {} }
        _ = try await store.write("a", [1], condition: .absent)
        _ = try await store.write("folder/b", [1], condition: .absent)
        for condition in [WriteCondition.none, .absent] {
            #expect(await code { try await store.write("a/b", [1], condition: condition) } == .invalidArgument)
            #expect(await code { try await store.write("folder", [1], condition: condition) } == .invalidArgument)
            #expect(
                await code { try await store.write(".perssd/store", [1], condition: condition) } == .invalidArgument)
            let long = try ObjectKey(String(repeating: "x", count: 256))
            #expect(await code { try await store.write(long, [1], condition: condition) } == .invalidArgument)
        }
        #expect(try await store.read("a/b")?.bytes == nil)
        #expect(try await store.read("folder")?.bytes == nil)
        try await store.remove("folder")
        #expect(await code { try await store.read(".perssd/store") } == .invalidArgument)
        #expect(await code { try await store.list(prefix: ".perssd/", after: nil, limit: 1) } == .invalidArgument)
        #expect(await code { try await store.list(prefix: "../", after: nil, limit: 1) } == .invalidArgument)
        #expect(await code { try await store.listFolders(in: "folder", after: nil, limit: 1) } == .invalidArgument)
        #expect(try await store.list(prefix: "", after: nil, limit: 9).map(\.key) == ["a", "folder/b"])
    }

    @Test func linksAndOtherThingsInsideAreNotFollowed() async throws {
        let (store, directory) = try await make()
        let outside = try TemporaryDirectory()
        try Data("secret".utf8).write(to: URL(fileURLWithPath: outside + "file"))
        _ = try await store.write("in/ok", [1], condition: .absent)
        let manager = FileManager.default
        try manager.createSymbolicLink(atPath: directory + "in/link", withDestinationPath: outside + "file")
        try manager.createSymbolicLink(atPath: directory + "folder", withDestinationPath: outside.path)
        #expect(mkfifo(directory + "in/fifo", 0o600) == 0)

        #expect(await code { try await store.read("in/link") } == .failedPrecondition)
        #expect(await code { try await store.read("folder/file") } == .failedPrecondition)
        #expect(await code { try await store.write("folder/new", [1], condition: .absent) } == .failedPrecondition)
        #expect(await code { try await store.remove("folder/file") } == .failedPrecondition)
        #expect(await code { try await store.read("in/fifo") } == .failedPrecondition)
        #expect(try await store.list(prefix: "", after: nil, limit: 9).map(\.key) == ["in/ok"])
        // A write takes the link's place and leaves alone what it points to.
        _ = try await store.write("in/link", [2], condition: .none)
        #expect(try await store.read("in/link")?.bytes == [2])
        #expect(try String(contentsOfFile: outside + "file", encoding: .utf8) == "secret")
        #expect(try manager.contentsOfDirectory(atPath: outside.path) == ["file"])
    }

    @Test(arguments: ["tmpfs", "ext4"]) func aFullDiskIsToldAndShowsNothingHalfWritten(_ type: String) async throws {
        let fileSystem = try await TestFileSystem.mount(type, megabytes: 8)
        let store = try await DirectoryStore.open(directory: try fileSystem.makeDirectory())
        let tag = try await store.write("v/head", [1], condition: .absent)
        let large = [UInt8](repeating: 5, count: 20 << 20)
        for condition in [WriteCondition.absent, .none] {
            let error = try #require(await failure { try await store.write("v/pack", large, condition: condition) })
            #expect(error.code == .resourceExhausted)
            #expect(error.description.contains(fileSystem.path) && error.description.contains("free space"), "\(error)")
        }
        let replacing = await code { try await store.write("v/head", large, condition: .matches(tag)) }
        #expect(replacing == .resourceExhausted)
        #expect(try await store.list(prefix: "", after: nil, limit: 9).map(\.key) == ["v/head"])
        #expect(try await store.read("v/head")?.bytes == [1])
        // And the space has been given back.
        _ = try await store.write("v/pack", [UInt8](repeating: 5, count: 3 << 20), condition: .absent)
    }

    @Test func aReadOnlyFileSystemIsTold() async throws {
        let fileSystem = try await TestFileSystem.mount("tmpfs", megabytes: 8)
        let store = try await DirectoryStore.open(directory: fileSystem.path)
        _ = try await store.write("a", [1], condition: .absent)
        try await fileSystem.remount("ro")
        #expect(await code { try await store.write("b", [1], condition: .absent) } == .failedPrecondition)
        #expect(await code { try await store.check() } == .failedPrecondition)
        #expect(await code { try await store.remove("a") } == .failedPrecondition)
        #expect(try await store.read("a")?.bytes == [1])
    }

    @Test func missingPermissionIsTold() async throws {
        let (store, directory) = try await make()
        let output = try TemporaryDirectory()
        let racer = try PackageRoot.builtProgram("store-racer")
        let arguments = ["--reuid", "65534", "--regid", "65534", "--clear-groups", racer, store.location, "check"]
        let setpriv = try PackageRoot.systemProgram("setpriv", package: "util-linux")
        #expect(chmod(directory.path, 0o755) == 0)
        let process = try await TestProcess.start(setpriv, arguments, directory: output)
        #expect(try await process.waitForExit() == 1)
        #expect(process.output.contains("permissionDenied") && process.output.contains("65534"), "\(process.output)")
    }

    @Test func tagsChangeWithTheContents() async throws {
        let (store, directory) = try await make()
        defer { withExtendedLifetime(directory) {} }
        let one = try await store.write("small", [1], condition: .none)
        let two = try await store.write("small", [2], condition: .none)
        #expect(one != two)
        #expect(try await store.write("small", [1], condition: .none) == one)
        let size = (1 << 20) + 1
        let large = try await store.write("large", pattern(size), condition: .none)
        let other = try await store.write("large", pattern(size, seed: 1), condition: .none)
        #expect(large != other)
        #expect(try await store.info("large")?.etag == other)
    }

    @Test func statisticsCountRequestsAndBytes() async throws {
        let (store, directory) = try await make()
        defer { withExtendedLifetime(directory) {} }
        _ = try await store.write("a/b", pattern(1000), condition: .absent)
        let before = store.statistics
        _ = try await store.read("a/b")
        _ = try await store.read("a/b", range: 0..<10)
        _ = try await store.info("a/b")
        _ = try await store.list(prefix: "a/", after: nil, limit: 1)
        let change = store.statistics.since(before)
        #expect(change.requests == [.read: 1, .readRange: 1, .info: 1, .list: 1])
        #expect(change.bytesReceived == 1010 && change.bytesSent == 0 && before.bytesSent == 1000)
    }

    @Test func aCancelledTaskWritesNothing() async throws {
        let (store, directory) = try await make()
        let task = Task {
            while !Task.isCancelled { await Task.yield() }
            return try await store.write("a", [1], condition: .absent)
        }
        task.cancel()
        #expect(await code { try await task.value } == .cancelled)
        #expect(try await store.read("a")?.bytes == nil)
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory + ".perssd/tmp").isEmpty)
    }

    private func make() async throws -> (DirectoryStore, TemporaryDirectory) {
        let directory = try TemporaryDirectory()
        return (try await DirectoryStore.open(directory: directory.path), directory)
    }
}

func failure(_ body: () async throws -> some Any) async -> PerSSDError? {
    do {
        _ = try await body()
        return nil
    } catch {
        return PerSSDError(wrapping: error)
    }
}
