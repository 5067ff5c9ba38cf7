import CLinux
import DeviceTestSupport
import Errors
import Foundation
import LinuxSystem
import SystemPackage
import Testing

@Suite struct MountTableTests {
    @Test func readsFieldsAndEscapes() throws {
        let table = try MountTable(
            parsing: #"""
                36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:4 - ext3 /dev/root rw,errors=continue
                37 36 0:6 /loop3 /a\040b\011\134c\012d ro - devtmpfs dev\043tmpfs rw
                38 36 0:7 / /plain rw,relatime - xfs /dev/loop0 ro

                """#)
        let first = try #require(table.entries.first)
        #expect(first.id == 36 && first.parent == 35 && first.device == DeviceNumber(major: 98, minor: 0))
        #expect(first.root == "/mnt1" && first.mountPoint == "/mnt2" && first.options == ["rw", "noatime"])
        #expect(first.fileSystemType == "ext3" && first.source == "/dev/root")
        #expect(first.superOptions == ["rw", "errors=continue"])
        #expect(!first.isReadOnly)
        #expect(table.entries[1].mountPoint == FilePath("/a b\t\\c\nd"))
        #expect(table.entries[1].source == "dev#tmpfs")
        #expect(table.entries[2].isReadOnly)
    }

    @Test(arguments: [
        "x", "36 35 98 / / rw - ext3 a rw", "36 35 98:0 / / rw shared:1 ext3 /dev/root rw x", "1 2 3:4 /",
    ])
    func refusesOtherLines(_ line: String) {
        #expect(throws: PerSSDError.self) { try MountTable(parsing: line) }
    }

    @Test func showsTheLastOfSeveralMounts() throws {
        let table = try MountTable(
            parsing: "1 0 7:1 / /m rw - xfs /dev/loop1 rw\n2 1 7:2 / /m rw - xfs /dev/loop2 rw\n")
        #expect(table.top(at: "/m")?.source == "/dev/loop2")
        #expect(table.top(at: "/other") == nil)
    }
}

@Suite struct MountOptionsTests {
    @Test func laterOptionsTakeThePlaceOfTheirOpposites() throws {
        #expect(try MountOptions(parsing: ["ro", "rw"]) == MountOptions(parsing: ["rw"]))
        #expect(try MountOptions(parsing: ["ro"]).isReadOnly)
        #expect(try !MountOptions(parsing: ["ro,noatime", "rw"]).isReadOnly)
        #expect(try MountOptions(parsing: ["strictatime,noatime"]) == MountOptions(parsing: ["noatime"]))
        #expect(try MountOptions(parsing: ["defaults"]) == MountOptions())
    }

    @Test(arguments: ["", "a,,b", "bind", "remount", "logdev=/dev/sda", "a b", "x\u{0}y", "loop", "offset=4096"])
    func refusesWhatCannotBeMeant(_ option: String) {
        let error = #expect(throws: PerSSDError.self) { try MountOptions(parsing: [option]) }
        #expect(error?.code == .invalidArgument)
    }
}

@Suite struct MountTests {
    @Test func mountsBindsAndUnmounts() async throws {
        try await Scratch.with { scratch in
            let directory = try scratch.makeFileSystem("a b", "ext4", size: 32 << 20)
            try "hello".write(toFile: directory.appending("file").string, atomically: false, encoding: .utf8)
            let target = try scratch.makeDirectory("target")
            var options = MountOptions()
            options.isReadOnly = true
            try options.add("noexec")
            try Mount.bind(
                try OpenFile(place: directory), at: try OpenFile(place: target), options: options)
            let entry = try #require(try MountTable.current().top(at: target))
            #expect(entry.options.isSuperset(of: ["ro", "noexec"]))
            #expect(!entry.superOptions.contains("ro"))
            #expect(try String(contentsOfFile: target.appending("file").string, encoding: .utf8) == "hello")
            let error = #expect(throws: PerSSDError.self) {
                _ = try OpenFile(target.appending("new"), O_WRONLY | O_CREAT)
            }
            #expect(error?.code == .failedPrecondition && error?.errno == .readOnlyFileSystem)
            try Mount.unmount(target)
            #expect(try MountTable.current().top(at: target) == nil)
            #expect(try MountTable.current().top(at: directory) != nil)
        }
    }

    @Test func namesTheOptionThatAFileSystemRefuses() async throws {
        try await Scratch.with { scratch in
            let image = try scratch.makeImage("image", size: 32 << 20)
            try scratch.run("mkfs.ext4", ["-q", image.string])
            let loop = try LoopDevice.attach(image)
            let target = try scratch.makeDirectory("target")
            for option in ["no_such_option", "data=nonsense"] {
                let error = #expect(throws: PerSSDError.self) {
                    try Mount.fileSystem(
                        "ext4", device: loop.path, at: try OpenFile(place: target),
                        options: MountOptions(parsing: ["noatime", option]))
                }
                #expect(error?.code == .invalidArgument)
                #expect(error?.message.contains("'\(option)'") == true)
                #expect(try MountTable.current().top(at: target) == nil)
            }
        }
    }

    @Test func refusesToUnmountWhatIsInUseAndSaysByWhom() async throws {
        try await Scratch.with { scratch in
            let directory = try scratch.makeFileSystem("fs", "ext4", size: 32 << 20)
            do {
                let file = try OpenFile(directory.appending("held"), O_WRONLY | O_CREAT)
                let error = #expect(throws: PerSSDError.self) { try Mount.unmount(directory) }
                #expect(error?.code == .failedPrecondition)
                #expect(error?.message.contains("pid \(getpid())") == true)
                try file.sync()
            }
            try Mount.unmount(directory)
        }
    }

    /// As a child process does that has what made the mount from its parent.
    @Test func letsGoOfADeviceThatIsKeptForAMoment() async throws {
        try await Scratch.with { scratch in
            let loop = try LoopDevice.attach(try scratch.makeImage("image", size: 32 << 20))
            try scratch.run("mkfs.ext4", ["-q", loop.path.string])
            let target = try scratch.makeDirectory("target")
            let keeper: Thread
            do {
                let place = try OpenFile(place: target)
                try Mount.fileSystem("ext4", device: loop.path, at: place, options: MountOptions())
                let mounted = try OpenFile(place: target)
                let picked = try systemCall("pick the mount") { clinux_fspick(mounted.descriptor) }
                keeper = Thread {
                    usleep(200_000)
                    close(picked)
                }
            }
            keeper.start()
            try Mount.unmount(target)
            #expect(try !BlockDevice.isHeld(loop.path))
            try loop.detach()
        }
    }

    @Test func freezesThawsAndTrims() async throws {
        try await Scratch.with { scratch in
            let directory = try scratch.makeFileSystem("fs", "ext4", size: 32 << 20)
            #expect(try !MountedFileSystem.thaw(directory))
            try MountedFileSystem.freeze(directory)
            #expect(throws: PerSSDError.self) { try MountedFileSystem.freeze(directory) }
            #expect(try MountedFileSystem.thaw(directory))
            #expect(try MountedFileSystem.trim(directory) > 1 << 20)
            let stats = try FileSystemStats(of: directory)
            #expect(stats.totalBytes > 20 << 20 && stats.totalInodes > 1000 && stats.freeBytes <= stats.totalBytes)
        }
    }
}
