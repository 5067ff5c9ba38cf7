import DeviceTestSupport
import Errors
import Foundation
import LinuxSystem
import SystemPackage
import Testing

@testable import LocalVolumes

@Suite struct ImageRecoveryTests {
    @Test func adoptsAttachedAndMountedCopies() async throws {
        try await Scratch.with { scratch in
            let directory = scratch.appending("pool")
            let device: FilePath
            let target = try scratch.makeDirectory("target")
            do {
                let pool = try await openPool(directory).pool
                _ = try await pool.create(newRecord("v"))
                device = try await pool.attach("v")
                try scratch.run("mkfs.ext4", ["-q", device.string])
                try Mount.fileSystem("ext4", device: device, at: try OpenFile(place: target), options: MountOptions())
            }
            let (pool, copies) = try await openPool(directory)
            #expect(copies == [LocalCopy(record: newRecord("v"), device: device)])
            #expect(try await pool.attach("v") == device)
            #expect(await failure { try await pool.remove("v") }?.code == .failedPrecondition)
            try Mount.unmount(target)
            try await pool.remove("v")
            #expect(try loops(below: directory).isEmpty)
        }
    }

    /// As in a container: the pool's directory is mounted there, and that mount goes with it. The kernel then names what lies
    /// behind the device by the path below that mount alone.
    @Test func adoptsWhatAMountNamespaceThatIsGoneHasAttached() async throws {
        try await Scratch.with { scratch in
            let directory = scratch.appending("state/pool")
            try DurableFile.makeDirectory(scratch.appending("state"))
            do {
                let pool = try await openPool(directory).pool
                for volume in ["v", "gone"] { _ = try await pool.create(newRecord(volume)) }
            }
            let state = directory.removingLastComponent().string
            for volume in ["v", "gone"] {
                try scratch.run(
                    "unshare",
                    [
                        "--mount", "sh", "-ec",
                        "mount --bind \(state) \(state); losetup --find \(directory)/volumes/\(volume)/image",
                    ])
            }
            let image = try #require(try FileStatus.of(directory.appending("volumes/v/image")))
            let removed = try #require(try FileStatus.of(directory.appending("volumes/gone/image")))
            let attached = try LoopDevice.all().filter { $0.backingDevice == image.device }
            let device = try #require(attached.first { $0.backingInode == image.inode })
            #expect(attached.contains { $0.backingInode == removed.inode })
            #expect(device.backingPath == "/pool/volumes/v/image")
            try DurableFile.removeIfThere(directory.appending("volumes/gone/image"))
            try DurableFile.removeIfThere(directory.appending("volumes/gone/record.json"))
            try FileManager.default.removeItem(atPath: directory.appending("volumes/gone").string)

            let (pool, copies) = try await openPool(directory)
            #expect(copies.map(\.device) == [device.path])
            #expect(try await pool.attach("v") == device.path)
            let left = try LoopDevice.all().filter { $0.backingDevice == image.device }.map(\.backingInode)
            #expect(left.filter { [image.inode, removed.inode].contains($0) } == [image.inode])
            try await pool.remove("v")
            #expect(try LoopDevice.attached(device.number) == nil)
        }
    }

    @Test func clearsWhatStepsLeftHalfDone() async throws {
        try await Scratch.with { scratch in
            let directory = scratch.appending("pool")
            do {
                let pool = try await openPool(directory).pool
                _ = try await pool.create(newRecord("kept"))
                _ = try await pool.create(newRecord("gone"))
                _ = try await pool.attach("gone")
            }
            // A removal that a kill ended after its first step, its device attached; a second device on a kept image; a
            // creation that was not finished; a device whose image is gone; the temporary file of a record.
            let trash = directory.appending("trash/gone.0123456789abcdef")
            try DurableFile.rename(directory.appending("volumes/gone"), to: trash)
            _ = try LoopDevice.attach(directory.appending("volumes/kept/image"))
            _ = try LoopDevice.attach(directory.appending("volumes/kept/image"))
            let new = directory.appending("new/half.0123456789abcdef")
            try DurableFile.makeDirectory(new)
            for name in ["image", "deleted"] {
                try OpenFile(new.appending(name), O_RDWR | O_CREAT).truncate(toBytes: mebibyte)
                _ = try LoopDevice.attach(new.appending(name))
            }
            try DurableFile.removeIfThere(new.appending("deleted"))
            let temporary = directory.appending("volumes/kept/\(DurableFile.temporaryPrefix)x")
            try DurableFile.write([1], to: temporary)
            // Not PerSSD's, though it is where such things are.
            try DurableFile.makeDirectory(directory.appending("trash/Mine"))
            #expect(try loops(below: directory).count == 5)

            let (pool, copies) = try await openPool(directory)
            #expect(copies.map(\.record) == [newRecord("kept")])
            let left = try loops(below: directory)
            #expect(left.map(\.path) == [copies[0].device])
            #expect(try DurableFile.names(in: directory.appending("new")).isEmpty)
            #expect(try DurableFile.names(in: directory.appending("trash")) == ["Mine"])
            #expect(try DurableFile.names(in: directory.appending("volumes/kept")) == ["image", "record.json"])
            try await pool.remove("kept")
        }
    }

    @Test func undoesAnUnfinishedGrowth() async throws {
        try await Scratch.with { scratch in
            let directory = scratch.appending("pool")
            do { _ = try await openPool(directory).pool.create(newRecord("v")) }
            let image = directory.appending("volumes/v/image")
            try OpenFile(image, O_RDWR).truncate(toBytes: 128 * mebibyte)
            let (pool, copies) = try await openPool(directory)
            #expect(copies.map(\.record.sizeBytes) == [64 * mebibyte])
            #expect(try FileStatus.of(image)?.sizeBytes == 64 * mebibyte)
            #expect(pool.damagedCopies.isEmpty)
        }
    }

    @Test(arguments: ["nonsense", "other volume", "future", "missing", "short image", "no image", "tail"])
    func leavesADamagedCopyAlone(_ damage: String) async throws {
        try await Scratch.with { scratch in
            let directory = scratch.appending("pool")
            do {
                let pool = try await openPool(directory).pool
                _ = try await pool.create(newRecord("v"))
                _ = try await pool.create(newRecord("good"))
                _ = try await pool.attach("v")
            }
            let folder = directory.appending("volumes/v")
            let record = folder.appending("record.json")
            let image = folder.appending("image")
            switch damage {
            case "nonsense": try DurableFile.write(Array("{".utf8), to: record)
            case "other volume":
                let bytes = try DurableFile.read(directory.appending("volumes/good/record.json"))
                try DurableFile.write(try #require(bytes), to: record)
            case "future": try DurableFile.write(Array(#"{"format": 99}"#.utf8), to: record)
            case "missing": try DurableFile.removeIfThere(record)
            case "short image": try OpenFile(image, O_RDWR).truncate(toBytes: mebibyte)
            case "no image": try DurableFile.removeIfThere(image)
            default:
                try OpenFile(image, O_RDWR).truncate(toBytes: 128 * mebibyte)
                try write([1], to: image, at: 100 * mebibyte)
            }
            let names = try DurableFile.names(in: folder)
            let (pool, copies) = try await openPool(directory)
            #expect(copies.map(\.record.volume) == ["good"])
            #expect(pool.damagedCopies.map(\.volume) == ["v"])
            let expected: PerSSDError.Code = damage == "future" ? .unsupported : .corrupt
            for call in [
                { _ = try await pool.create(newRecord("v")) }, { _ = try await pool.attach("v") },
                { try await pool.remove("v") }, { try await pool.save(newRecord("v")) },
            ] as [() async throws -> Void] {
                #expect(await failure(call)?.code == expected)
            }
            #expect(try DurableFile.names(in: folder) == names)
            // Its device is left as well: someone may want to rescue what is on it.
            #expect(try loops(below: folder).count == 1)
            // Its space is not promised again.
            if damage != "no image" {
                #expect(try await pool.usage().freeBytes < (1 << 30) - 64 * mebibyte)
            }
        }
    }

    @Test func aDeviceLeftReadOnlyCanBeWrittenAgain() async throws {
        try await Scratch.with { scratch in
            let directory = scratch.appending("pool")
            do {
                let pool = try await openPool(directory).pool
                _ = try await pool.create(newRecord("v"))
                try await BlockDevice.setReadOnly(pool.attach("v"), true)
            }
            let device = try #require(try await openPool(directory).copies.first?.device)
            try write([1], to: device)
        }
    }
}
