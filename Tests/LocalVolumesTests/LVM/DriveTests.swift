import Commands
import DeviceTestSupport
import Errors
import Foundation
import LinuxSystem
import SystemPackage
import Testing

@testable import LocalVolumes

@Suite struct DriveTests {
    /// A tree as sysfs shows it: two drives, one of them with a partition, a hidden path, a loop device.
    private func makeSys(_ scratch: Scratch) throws -> FilePath {
        let files = [
            ("nvme0n1/dev", "259:0\n"), ("nvme0n1/size", "2457600\n"), ("nvme0n1/ro", "0\n"),
            ("nvme0n1/queue/rotational", "0\n"), ("nvme0n1/device/model", "QEMU NVMe Ctrl          \n"),
            ("nvme0n1/device/serial", "PROBE0   \n"), ("nvme0n1/holders/dm-3/x", ""),
            ("sda/dev", "8:0\n"), ("sda/size", "8000000\n"), ("sda/ro", "1\n"), ("sda/queue/rotational", "1\n"),
            ("sda/device/model", "Disk\n"), ("sda/sda1/partition", "1\n"), ("sda/holders/.", ""),
            ("nvme2c2n1/size", "2457600\n"), ("nvme2c2n1/device/model", "QEMU NVMe Ctrl\n"),
            ("loop0/dev", "7:0\n"), ("loop0/size", "100\n"),
        ]
        let sys = scratch.appending("sys")
        for (name, contents) in files {
            let path = sys.appending("block").pushing(FilePath(name))
            try scratch.run("mkdir", ["-p", path.removingLastComponent().string])
            if path.lastComponent?.string != "." { try DurableFile.write(Array(contents.utf8), to: path) }
        }
        return sys
    }

    @Test func drivesAreFoundInSysfs() async throws {
        try await Scratch.with { scratch in
            let drives = try Drive.all(sys: try makeSys(scratch))
            #expect(
                drives == [
                    Drive(
                        name: "nvme0n1", number: DeviceNumber(major: 259, minor: 0), sizeBytes: 2_457_600 * 512,
                        model: "QEMU NVMe Ctrl", serial: "PROBE0", isRotational: false, isReadOnly: false,
                        partitions: [], holders: ["dm-3"]),
                    Drive(
                        name: "sda", number: DeviceNumber(major: 8, minor: 0), sizeBytes: 8_000_000 * 512,
                        model: "Disk", serial: "", isRotational: true, isReadOnly: true, partitions: ["sda1"],
                        holders: []),
                ])
        }
    }

    @Test func allCriteriaHaveToHold() {
        let drive = Drive(
            name: "nvme0n1", number: DeviceNumber(major: 259, minor: 0), sizeBytes: 1 << 40, model: "M", serial: "S",
            isRotational: false, isReadOnly: false, partitions: [], holders: [])
        let matching = DriveSelection(
            model: "M", serials: ["R", "S"], minimumSize: 1 << 40, maximumSize: 1 << 40, rotational: false,
            allEmptyNVMe: true)
        #expect(matching.matches(drive))
        let changes: [(inout DriveSelection) -> Void] = [
            { $0.model = "N" }, { $0.serials = ["R"] }, { $0.minimumSize = 1 << 41 }, { $0.maximumSize = 1 << 39 },
            { $0.rotational = true },
        ]
        for change in changes {
            var selection = matching
            change(&selection)
            #expect(!selection.matches(drive), "\(selection)")
        }
        var disk = drive
        disk.name = "sda"
        #expect(!matching.matches(disk))
    }

    enum Trouble: String, CaseIterable {
        case group, partition, holder, mount, swap, signature, held
        // What somebody would lose is above.
        case readOnly, small, faulty
    }

    /// On a loop device in place of a drive. One that is too small besides is refused for what somebody would lose.
    @Test(arguments: Trouble.allCases, [false, true])
    func aDriveThatCarriesSomethingIsRefused(trouble: Trouble, isAlsoSmall: Bool) async throws {
        try await Scratch.with { scratch in
            let image = try scratch.makeImage("drive", size: 64 << 20)
            if trouble == .mount { try scratch.run("mkfs.ext4", ["-q", image.string]) }
            let loop = try LoopDevice.attach(image, readOnly: trouble == .faulty)
            let name = try #require(loop.path.lastComponent).string
            let swaps = scratch.appending("swaps")
            let line = "Filename\tType\n" + (trouble == .swap ? "\(loop.path) partition 1 0 -2\n" : "")
            try DurableFile.write(Array(line.utf8), to: swaps)
            let runner = FakeRunner { _ in
                answered(
                    trouble == .signature
                        ? #"{"signatures": [{"device":"d", "offset":"0x0", "type":"xfs", "uuid":"u", "label":null}]}"#
                        : "")
            }
            let isSmall = isAlsoSmall || trouble == .small
            let drive = Drive(
                name: name, number: try BlockDevice.number(of: loop.path), sizeBytes: isSmall ? 1 << 20 : 1 << 40,
                model: "", serial: "", isRotational: false, isReadOnly: trouble == .readOnly,
                partitions: trouble == .partition ? [name + "p1"] : [], holders: trouble == .holder ? ["dm-1"] : [])
            let chooser = DriveChooser(tools: try LVMTools(runner: runner), logger: { _ in }, swaps: swaps)
            if trouble == .mount {
                try scratch.run("mount", [loop.path.string, try scratch.makeDirectory("mounted").string])
            }
            let ofGroup = trouble == .group ? loop.path.string : "/dev/other"
            let groups = [PhysicalVolume(device: ofGroup, group: "other", freeBytes: 0)]
            let found: String?
            if trouble == .held {
                let holder = try OpenFile(loop.path, O_RDONLY | O_EXCL)
                found = try await chooser.refusal(of: drive, groups)
                #expect(try holder.status().kind == .blockDevice)
            } else {
                found = try await chooser.refusal(of: drive, groups)
            }
            let reason =
                switch trouble {
                case .group: "belongs to the volume group 'other'"
                case .partition: "has partitions, such as \(name)p1"
                case .holder: "is used by the device dm-1"
                case .mount: "is mounted at \(scratch.path)/mounted"
                case .swap: "is used as swap"
                case .signature: "has a signature: xfs"
                case .held: "is in use"
                case .readOnly: "is write-protected"
                case .small: "is too small"
                case .faulty: isAlsoSmall ? "is too small" : "takes no writes"
                }
            #expect(found?.hasPrefix(reason) == true, "\(found ?? "no refusal")")
        }
    }

    @Test func aDriveThatCarriesNothingIsTakenAndStaysAsItIs() async throws {
        try await Scratch.with { scratch in
            let image = try scratch.makeImage("drive", size: 64 << 20)
            let loop = try LoopDevice.attach(image)
            try write([1, 2, 3], to: loop.path)
            let drive = Drive(
                name: try #require(loop.path.lastComponent).string, number: try BlockDevice.number(of: loop.path),
                sizeBytes: 1 << 40, model: "", serial: "", isRotational: false, isReadOnly: false, partitions: [],
                holders: [])
            let chooser = DriveChooser(tools: try LVMTools(runner: FakeRunner { _ in answered() }), logger: { _ in })
            #expect(try await chooser.refusal(of: drive, []) == nil)
            #expect(try read(loop.path, count: 4) == [1, 2, 3, 0])
        }
    }

    /// With wipefs itself, on a device that has partitions and one that has a file system.
    @Test func signaturesAreThoseThatWipefsSees() async throws {
        try await Scratch.with { scratch in
            let runner = SubprocessRunner()
            func signature(_ path: FilePath) async throws -> String? {
                let result = try await runner.run(Command("wipefs", ["--no-act", "--json", path.string]))
                return try DriveChooser.signature(result.standardOutput)
            }
            let image = try scratch.makeImage("image", size: 64 << 20)
            #expect(try await signature(image) == nil)
            try scratch.run("mkfs.ext4", ["-q", image.string])
            #expect(try await signature(image) == "ext4")
            #expect(throws: PerSSDError.self) { try DriveChooser.signature(Array("ext4".utf8)) }
        }
    }

    @Test func drivesThatAreNamedHaveToBeThereAndWhole() async throws {
        try await Scratch.with { scratch in
            let runner = FakeRunner { _ in answered(#"{"report":[{"pv":[]}]}"#) }
            let chooser = DriveChooser(
                tools: try LVMTools(runner: runner), logger: { _ in }, sys: try makeSys(scratch))
            let image = try scratch.makeImage("image", size: 1 << 20)
            for (path, code) in [
                ("/dev/nvme99n1", PerSSDError.Code.notFound), (image.string, .notFound),
                (try LoopDevice.attach(image).path.string, .failedPrecondition),
            ] {
                let error = await failure { _ = try await chooser.choose(DriveSelection(paths: [path])) }
                #expect(error?.code == code && error?.message.contains(path) == true, "\(String(describing: error))")
            }
            #expect(await failure { _ = try await chooser.choose(DriveSelection()) }?.code == .invalidArgument)
            // Each of those that match carries something, and the reason is given.
            let error = await failure { _ = try await chooser.choose(DriveSelection(rotational: true)) }
            #expect(error?.code == .poolMissing)
            #expect(error?.message.contains("/dev/sda has partitions, such as sda1") == true)
        }
    }
}
