import DeviceTestSupport
import Errors
import Foundation
import LinuxSystem
import LocalVolumes
import SystemPackage
import Testing

/// A publisher with a staged volume "v" on ext4, its targets in a directory of their own.
private struct Fixture {
    let scratch: Scratch
    let publisher: Publisher
    let device: FilePath
    let targets: FilePath

    func target(_ name: String) -> String { targets.appending(name).string }

    static func with(staged: Bool = true, _ body: (Fixture) async throws -> Void) async throws {
        try await Scratch.with { scratch in
            let device = try LoopDevice.attach(try scratch.makeImage("image", size: 32 * mebibyte)).path
            let targets = try scratch.makeDirectory("targets")
            let publisher = try await Publisher(
                stateDirectory: scratch.appending("state"), allowedRoot: targets, logger: silent)
            if staged {
                try await FileSystems().make(.ext4, on: device)
                _ = try await publisher.stage("v", device: device, kind: .ext4)
            }
            try await body(Fixture(scratch: scratch, publisher: publisher, device: device, targets: targets))
        }
    }
}

@Suite struct PublisherTests {
    @Test func publishesAtSeveralTargetsAndTakesAllBack() async throws {
        try await Fixture.with { fixture in
            let (publisher, device) = (fixture.publisher, fixture.device)
            let (one, two) = (fixture.target("one"), fixture.target("two"))
            try await publisher.publish("v", at: one, readOnly: false)
            try await publisher.publish("v", at: one, readOnly: false)
            try await publisher.publish("v", at: two, readOnly: true)
            #expect(try MountTable.current().entries.filter { $0.mountPoint == FilePath(one) }.count == 1)
            try DurableFile.write([1, 2], to: FilePath(one).appending("file"))
            #expect(try DurableFile.read(FilePath(two).appending("file")) == [1, 2])
            #expect(throws: PerSSDError.self) { try DurableFile.write([1], to: FilePath(two).appending("other")) }
            let published = try await publisher.publishedTargets(of: device)
            #expect(
                Set(published.map(\.path)) == [FilePath(one), FilePath(two)]
                    && published.allSatisfy { $0.isReadOnly == ($0.path == FilePath(two)) && !$0.isBlock })
            #expect(await failure { try await publisher.publish("v", at: one, readOnly: true) }?.code == .alreadyExists)
            #expect(await failure { try await publisher.unstage("v") }?.code == .failedPrecondition)
            try await publisher.unpublish(device: device, from: one)
            try await publisher.unpublish(device: device, from: one)
            #expect(try FileStatus.of(FilePath(one)) == nil)
            try await publisher.unpublish(device: device, from: two)
            #expect(try await publisher.publishedTargets(of: device).isEmpty)
            try await publisher.unstage("v")
            try await publisher.unstage("v")
            #expect(try await publisher.stagedPath(of: "v") == nil)
            #expect(
                await failure { try await publisher.publish("v", at: one, readOnly: false) }?.code
                    == .failedPrecondition)
            try DurableFile.removeDirectoryIfThere(fixture.scratch.appending("state/mounts/v"))
        }
    }

    @Test func anotherProcessFindsMountsAndThawsThem() async throws {
        try await Fixture.with { fixture in
            try await fixture.publisher.publish("v", at: fixture.target("one"), readOnly: true)
            let path = fixture.scratch.appending("state/mounts/v")
            try MountedFileSystem.freeze(path)
            let next = try await Publisher(stateDirectory: fixture.scratch.appending("state"), logger: silent)
            #expect(try await next.recover() == [StagedMount(volume: "v", path: path, isReadOnly: false)])
            #expect(try !MountedFileSystem.thaw(path))
            #expect(
                try await next.publishedTargets(of: fixture.device)
                    == [PublishedTarget(path: FilePath(fixture.target("one")), isReadOnly: true, isBlock: false)])
            try await next.unpublish(device: fixture.device, from: fixture.target("one"))
        }
    }

    @Test func refusesBadPaths() async throws {
        try await Fixture.with { fixture in
            let targets = fixture.targets.string
            let long = targets + "/" + String(repeating: "a", count: 256)
            try fixture.scratch.run("ln", ["-s", "/", targets + "/escape"])
            let bad = [
                "", "relative", "/", targets, targets + "/../x", targets + "/./x", targets + "/a\u{0}b", long,
                "/" + String(repeating: "b/", count: 3000), targets + "/escape/perssd-test",
                fixture.scratch.path.string + "/x",
            ]
            for target in bad {
                let error = await failure { try await fixture.publisher.publish("v", at: target, readOnly: false) }
                #expect(error?.code == .invalidArgument, "\(target.prefix(80)): \(error?.description ?? "published")")
                let unpublished = await failure {
                    try await fixture.publisher.unpublish(device: fixture.device, from: target)
                }
                #expect(unpublished?.code == .invalidArgument, "\(target.prefix(80))")
            }
            let missing = await failure {
                try await fixture.publisher.publish("v", at: targets + "/no/parent", readOnly: false)
            }
            #expect(missing?.code == .notFound && missing?.message.contains("no/parent") == true)
            try await fixture.publisher.unpublish(device: fixture.device, from: targets + "/no/parent")
            #expect(try DurableFile.names(in: fixture.targets) == ["escape"])
        }
    }

    @Test func refusesTargetsThatAreSomethingElse() async throws {
        try await Fixture.with { fixture in
            try DurableFile.write([1], to: fixture.targets.appending("file"))
            let full = fixture.targets.appending("full")
            try DurableFile.makeDirectory(full)
            try DurableFile.write([1], to: full.appending("precious"))
            try DurableFile.makeDirectory(fixture.targets.appending("real"))
            try fixture.scratch.run("ln", ["-s", "real", fixture.target("link")])
            for name in ["file", "full", "link"] {
                let error = await failure {
                    try await fixture.publisher.publish("v", at: fixture.target(name), readOnly: false)
                }
                #expect(error?.code == .failedPrecondition, "\(name): \(error?.description ?? "published")")
                let other = await failure {
                    try await fixture.publisher.unpublish(device: fixture.device, from: fixture.target(name))
                }
                #expect(other?.code == .failedPrecondition, "\(name)")
            }
            let block = await failure {
                try await fixture.publisher.publishDevice(fixture.device, at: fixture.target("real"), readOnly: false)
            }
            #expect(block?.code == .failedPrecondition)
            #expect(try DurableFile.read(full.appending("precious")) == [1])
            #expect(try DurableFile.names(in: fixture.targets) == ["file", "full", "link", "real"])
            #expect(try await fixture.publisher.publishedTargets(of: fixture.device).isEmpty)
        }
    }

    @Test func aLinkOnTheWayIsResolvedOnce() async throws {
        try await Fixture.with { fixture in
            try DurableFile.makeDirectory(fixture.targets.appending("pods"))
            try fixture.scratch.run("ln", ["-s", fixture.target("pods"), fixture.target("alias")])
            let target = fixture.target("alias/mount")
            try await fixture.publisher.publish("v", at: target, readOnly: false)
            try await fixture.publisher.publish("v", at: fixture.target("pods/mount"), readOnly: false)
            #expect(
                try await fixture.publisher.publishedTargets(of: fixture.device).map(\.path)
                    == [fixture.targets.appending("pods").appending("mount")])
            try await fixture.publisher.unpublish(device: fixture.device, from: target)
            #expect(try DurableFile.names(in: fixture.targets.appending("pods")).isEmpty)
        }
    }

    @Test func leavesMountsOfOthersAlone() async throws {
        try await Fixture.with { fixture in
            let target = fixture.targets.appending("taken")
            try DurableFile.makeDirectory(target)
            let other = try LoopDevice.attach(try fixture.scratch.makeImage("other", size: 16 * mebibyte))
            try fixture.scratch.run("mkfs.ext4", ["-q", other.path.string])
            try Mount.fileSystem("ext4", device: other.path, at: try OpenFile(place: target), options: MountOptions())
            for call in [
                { try await fixture.publisher.publish("v", at: target.string, readOnly: false) },
                { try await fixture.publisher.unpublish(device: fixture.device, from: target.string) },
                { try await fixture.publisher.unpublish(device: nil, from: target.string) },
            ] as [() async throws -> Void] {
                let error = await failure(call)
                #expect(error?.code == .failedPrecondition)
                #expect(error?.message.contains(other.path.string) == true)
            }
            #expect(try MountTable.current().top(at: target)?.source == other.path.string)
            // One that hides ours is not taken away either.
            let ours = fixture.target("ours")
            try await fixture.publisher.publish("v", at: ours, readOnly: false)
            try Mount.bind(
                try OpenFile(place: target), at: try OpenFile(place: FilePath(ours)), options: MountOptions())
            #expect(
                await failure { try await fixture.publisher.unpublish(device: fixture.device, from: ours) }?.code
                    == .failedPrecondition)
            try Mount.unmount(FilePath(ours))
            try await fixture.publisher.unpublish(device: fixture.device, from: ours)
        }
    }

    @Test func aTargetInUseStaysPublished() async throws {
        try await Fixture.with { fixture in
            let target = fixture.target("one")
            try await fixture.publisher.publish("v", at: target, readOnly: false)
            do {
                let file = try OpenFile(FilePath(target).appending("held"), O_WRONLY | O_CREAT)
                let error = await failure {
                    try await fixture.publisher.unpublish(device: fixture.device, from: target)
                }
                #expect(error?.code == .failedPrecondition && error?.message.contains("pid \(getpid())") == true)
                try file.sync()
            }
            #expect(try await fixture.publisher.publishedTargets(of: fixture.device).count == 1)
            try await fixture.publisher.unpublish(device: fixture.device, from: target)
        }
    }

    @Test func publishesADeviceItself() async throws {
        try await Fixture.with(staged: false) { fixture in
            let (publisher, device) = (fixture.publisher, fixture.device)
            let (one, two) = (fixture.target("one"), fixture.target("two"))
            try await publisher.publishDevice(device, at: one, readOnly: false)
            try await publisher.publishDevice(device, at: one, readOnly: false)
            try write([7], to: FilePath(one))
            #expect(try read(device, count: 1) == [7])
            #expect(
                try await publisher.publishedTargets(of: device)
                    == [PublishedTarget(path: FilePath(one), isReadOnly: false, isBlock: true)])
            #expect(
                await failure { try await publisher.publishDevice(device, at: two, readOnly: true) }?.code
                    == .failedPrecondition)
            try await publisher.publishDevice(device, at: two, readOnly: false)
            try await publisher.unpublish(device: device, from: one)
            #expect(try FileStatus.of(FilePath(one)) == nil)
            try await publisher.unpublish(device: device, from: two)
            try await publisher.publishDevice(device, at: two, readOnly: true)
            #expect(throws: PerSSDError.self) { try write([8], to: FilePath(two)) }
            #expect(try read(FilePath(two), count: 1) == [7])
            try await publisher.unpublish(device: device, from: two)
            try write([9], to: device)
        }
    }

    @Test func appliesMountOptionsAndNamesTheWrongOne() async throws {
        try await Fixture.with { fixture in
            let publisher = fixture.publisher
            try await publisher.unstage("v")
            let bad = await failure {
                _ = try await publisher.stage(
                    "v", device: fixture.device, kind: .ext4, options: MountOptions(parsing: ["noatime", "nonsense=1"]))
            }
            #expect(bad?.code == .invalidArgument && bad?.message.contains("nonsense=1") == true)
            #expect(try await publisher.stagedPath(of: "v") == nil)
            let options = try MountOptions(parsing: ["noatime,nosuid", "commit=17"])
            let staged = try await publisher.stage("v", device: fixture.device, kind: .ext4, options: options)
            try await publisher.publish("v", at: fixture.target("one"), readOnly: false)
            let table = try MountTable.current()
            for path in [staged, FilePath(fixture.target("one"))] {
                let entry = try #require(table.top(at: path))
                #expect(entry.options.isSuperset(of: ["rw", "noatime", "nosuid"]))
                #expect(entry.superOptions.contains("commit=17"))
            }
            try await publisher.unpublish(device: fixture.device, from: fixture.target("one"))
            try await publisher.unstage("v")
            var readOnly = MountOptions()
            readOnly.isReadOnly = true
            _ = try await publisher.stage("v", device: fixture.device, kind: .ext4, options: readOnly)
            try await publisher.publish("v", at: fixture.target("one"), readOnly: false)
            #expect(try await publisher.publishedTargets(of: fixture.device).map(\.isReadOnly) == [true])
        }
    }

    @Test func letsAFileSystemBeWrittenBesideThoseWhoReadIt() async throws {
        try await Fixture.with { fixture in
            let publisher = fixture.publisher
            try await publisher.unstage("v")
            var readOnly = MountOptions()
            readOnly.isReadOnly = true
            _ = try await publisher.stage("v", device: fixture.device, kind: .ext4, options: readOnly)
            try await publisher.publish("v", at: fixture.target("one"), readOnly: true)
            _ = try await publisher.stage("v", device: fixture.device, kind: .ext4)
            try await publisher.publish("v", at: fixture.target("two"), readOnly: false)
            try DurableFile.write([1], to: FilePath(fixture.target("two")).appending("file"))
            #expect(throws: PerSSDError.self) {
                try write([2], to: FilePath(fixture.target("one")).appending("file"))
            }
            #expect(try read(FilePath(fixture.target("one")).appending("file"), count: 1) == [1])
            let refused = await failure {
                _ = try await publisher.stage("v", device: fixture.device, kind: .ext4, options: readOnly)
            }
            #expect(refused?.code == .failedPrecondition)
        }
    }

    @Test func freezesForAWhileAndThawsWhateverHappens() async throws {
        try await Fixture.with { fixture in
            let path = fixture.scratch.appending("state/mounts/v")
            let error = await failure {
                _ = try await fixture.publisher.whileFrozen("v") {
                    #expect(throws: PerSSDError.self) { try MountedFileSystem.freeze(path) }
                    throw PerSSDError(.aborted, "on purpose")
                }
            }
            #expect(error?.code == .aborted)
            try DurableFile.write([1], to: path.appending("file"))
            #expect(try await fixture.publisher.trim("v") > mebibyte)
        }
    }

    @Test func aFreezeThatLastsTooLongIsEndedAndReported() async throws {
        try await Fixture.with { fixture in
            let path = fixture.scratch.appending("state/mounts/v")
            let error = await failure {
                _ = try await fixture.publisher.whileFrozen("v", limit: .seconds(1)) {
                    // Held until the freeze is over.
                    try DurableFile.write([1], to: path.appending("file"))
                }
            }
            #expect(error?.code == .aborted)
            #expect(error?.message.contains("before its time") == true)
            let (value, held) = try await fixture.publisher.whileFrozen("v") {
                try await Task.sleep(for: .milliseconds(20))
                return 7
            }
            #expect(value == 7)
            // The freeze's own limit, which a busy machine may come near.
            #expect(held >= .milliseconds(20) && held < .seconds(10))
        }
    }

    @Test func aFreezeEndsWithTheProcessThatMadeIt() async throws {
        try await Fixture.with { fixture in
            let path = fixture.scratch.appending("state/mounts/v")
            let output = try OpenFile(fixture.scratch.appending("output"), O_RDWR | O_CREAT)
            let process = Process()
            process.executableURL = try crashHelper()
            process.arguments = ["freeze", path.string]
            process.standardOutput = FileHandle(fileDescriptor: output.descriptor)
            try process.run()
            while try DurableFile.read(output.path, limit: 100) != Array("frozen\n".utf8) { usleep(10_000) }
            #expect(throws: PerSSDError.self) { try MountedFileSystem.freeze(path) }
            kill(process.processIdentifier, SIGKILL)
            process.waitUntilExit()
            // Hangs where nobody thaws.
            let start = ContinuousClock.now
            try DurableFile.write([1], to: path.appending("file"))
            #expect(ContinuousClock.now - start < .seconds(10))
        }
    }
}
