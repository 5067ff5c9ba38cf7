import DeviceTestSupport
import Errors
import Foundation
import LinuxSystem
import SystemPackage
import Testing

@testable import LocalVolumes

@Suite struct ImagePoolTests {
    @Test(arguments: PoolPlace.allCases) func aCopyLivesFromCreationToRemoval(_ place: PoolPlace) async throws {
        try await Scratch.with { scratch in
            let directory = try place.makeDirectory(in: scratch)
            let pool = try await openPool(directory).pool
            #expect(pool.cutsAreInstant == (place == .xfs))
            #expect(try await pool.usage() == PoolUsage(totalBytes: 1 << 30, freeBytes: 1 << 30))
            let record = newRecord("vol-1")
            #expect(try await pool.create(record) == LocalCopy(record: record, device: nil))
            #expect(try await pool.usage().freeBytes == 960 * mebibyte)
            let device = try await pool.attach("vol-1")
            #expect(try await pool.attach("vol-1") == device)
            #expect(try BlockDevice.sizeBytes(device) == record.sizeBytes)
            #expect(try read(device, count: 1 << 20).allSatisfy { $0 == 0 })
            #expect(try loops(below: directory).allSatisfy(\.isDirect))
            try write([1, 2, 3], to: device)
            try await pool.detach("vol-1")
            try await pool.detach("vol-1")
            #expect(try loops(below: directory).isEmpty)
            #expect(try await read(pool.attach("vol-1"), count: 3) == [1, 2, 3])
            try await pool.check()
            try await pool.remove("vol-1")
            try await pool.remove("vol-1")
            #expect(try loops(below: directory).isEmpty)
            #expect(try await pool.usage().freeBytes == 1 << 30)
            #expect(try DurableFile.names(in: directory.appending("volumes")).isEmpty)
            #expect(try DurableFile.names(in: directory.appending("trash")).isEmpty)
        }
    }

    @Test func discardGivesSpaceBack() async throws {
        try await Scratch.with { scratch in
            let directory = scratch.appending("pool")
            let pool = try await openPool(directory).pool
            _ = try await pool.create(newRecord("v"))
            let device = try await pool.attach("v")
            try write([UInt8](repeating: 1, count: 8 << 20), to: device)
            let image = directory.appending("volumes/v/image")
            #expect(try FileStatus.of(image)?.allocatedBytes ?? 0 >= 8 << 20)
            try BlockDevice.discard(device, 0..<(8 << 20))
            #expect(try FileStatus.of(image)?.allocatedBytes ?? .max < 1 << 20)
        }
    }

    @Test func aFullPoolIsExhausted() async throws {
        try await Scratch.with { scratch in
            let pool = try await openPool(scratch.appending("pool"), size: 100 * mebibyte).pool
            _ = try await pool.create(newRecord("a"))
            let error = await failure { _ = try await pool.create(newRecord("b")) }
            #expect(error?.code == .resourceExhausted)
            #expect(error?.message.contains("\(36 * mebibyte) bytes free") == true)
            #expect(await failure { try await pool.resize("a", toBytes: 128 * mebibyte) }?.code == .resourceExhausted)
            _ = try await pool.create(newRecord("c", size: 36 * mebibyte))
            #expect(try await pool.usage().freeBytes == 0)
            try await pool.remove("a")
            _ = try await pool.create(newRecord("b"))
        }
    }

    @Test func sideBySideCreationsDoNotPromiseTwice() async throws {
        try await Scratch.with { scratch in
            let pool = try await openPool(scratch.appending("pool"), size: 10 * mebibyte).pool
            let made = await withTaskGroup(of: Bool.self) { group in
                for index in 0..<20 {
                    group.addTask {
                        await failure { _ = try await pool.create(newRecord("v\(index)", size: 3 * mebibyte)) } == nil
                    }
                }
                return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
            }
            #expect(made == 3)
            #expect(try await pool.usage().freeBytes == mebibyte)
        }
    }

    @Test func promisesNoMoreThanTheFileSystemHas() async throws {
        try await Scratch.with { scratch in
            let directory = try scratch.makeFileSystem("small", "ext4", size: 64 << 20)
            let pool = try await openPool(directory.appending("pool"), size: nil).pool
            let usage = try await pool.usage()
            #expect(usage.totalBytes > 30 * mebibyte && usage.totalBytes < 64 * mebibyte)
            // What others take is not there to promise.
            try DurableFile.write([UInt8](repeating: 1, count: 20 << 20), to: directory.appending("other"))
            #expect(try await pool.usage().totalBytes <= usage.totalBytes - 20 * mebibyte)
            try DurableFile.removeIfThere(directory.appending("other"))
            // What the images take is.
            _ = try await pool.create(newRecord("v", size: 16 * mebibyte))
            try await write([UInt8](repeating: 1, count: 16 << 20), to: pool.attach("v"))
            let after = try await pool.usage()
            #expect(after.totalBytes > usage.totalBytes - 2 * mebibyte)
            #expect(after.freeBytes == after.totalBytes - 16 * mebibyte)
        }
    }

    @Test func anOvercommittedPoolFailsWritesThatFindNoRoomAndKeepsTheRest() async throws {
        try await Scratch.with { scratch in
            let directory = try scratch.makeFileSystem("small", "ext4", size: 64 << 20)
            let pool = try await openPool(directory.appending("pool"), size: nil, overcommit: 4).pool
            _ = try await pool.create(newRecord("v", size: 128 * mebibyte))
            let device = try await pool.attach("v")
            try write([UInt8](repeating: 5, count: 1 << 20), to: device)
            let error = await failure { try write([UInt8](repeating: 1, count: 100 << 20), to: device, at: 1 << 20) }
            #expect(error?.code == .unavailable || error?.code == .resourceExhausted)
            #expect(try read(device, count: 1 << 20) == [UInt8](repeating: 5, count: 1 << 20))
        }
    }

    @Test func refusesSizesAndNamesThatCannotBe() async throws {
        try await Scratch.with { scratch in
            let pool = try await openPool(scratch.appending("pool")).pool
            for size in [0, 1, 4097, UInt64.max] {
                #expect(await failure { _ = try await pool.create(newRecord("v", size: size)) }?.code == .outOfRange)
            }
            for name in ["", "..", ".", "a/b", "A", "a b", "a\u{0}", "é", String(repeating: "a", count: 65)] {
                #expect(await failure { _ = try await pool.create(newRecord(name)) }?.code == .invalidArgument)
                #expect(await failure { _ = try await pool.attach(name) }?.code == .invalidArgument)
                #expect(await failure { _ = try await pool.remove(name) }?.code == .invalidArgument)
            }
            #expect(await failure { _ = try await pool.attach("none") }?.code == .notFound)
            _ = try await pool.create(newRecord("v"))
            #expect(await failure { _ = try await pool.create(newRecord("v")) }?.code == .alreadyExists)
            #expect(await failure { try await pool.resize("v", toBytes: mebibyte) }?.code == .outOfRange)
        }
    }

    @Test func keepsRecordsAndRefusesThoseOfAnotherIncarnation() async throws {
        try await Scratch.with { scratch in
            let directory = scratch.appending("pool")
            var record = newRecord("v")
            do {
                let pool = try await openPool(directory).pool
                _ = try await pool.create(record)
                (record.state, record.generation, record.epoch, record.lastUsed) = (.clean, 7, 3, 99)
                try await pool.save(record)
                var other = record
                other.incarnation = "i2"
                #expect(await failure { try await pool.save(other) }?.code == .failedPrecondition)
                other = record
                other.sizeBytes *= 2
                #expect(await failure { try await pool.save(other) }?.code == .failedPrecondition)
            }
            #expect(try await openPool(directory).copies == [LocalCopy(record: record, device: nil)])
        }
    }

    @Test(arguments: PoolPlace.allCases) func growsAttachedAndDetached(_ place: PoolPlace) async throws {
        try await Scratch.with { scratch in
            let directory = try place.makeDirectory(in: scratch)
            let pool = try await openPool(directory).pool
            _ = try await pool.create(newRecord("v"))
            let device = try await pool.attach("v")
            try write([9], to: device)
            try await pool.resize("v", toBytes: 128 * mebibyte)
            #expect(try BlockDevice.sizeBytes(device) == 128 * mebibyte)
            #expect(try await pool.usage().freeBytes == 896 * mebibyte)
            try await pool.detach("v")
            try await pool.resize("v", toBytes: 192 * mebibyte)
            #expect(try await BlockDevice.sizeBytes(pool.attach("v")) == 192 * mebibyte)
            #expect(try await read(pool.attach("v"), count: 1) == [9])
        }
    }

    @Test func whatIsMountedOrOpenStays() async throws {
        try await Scratch.with { scratch in
            let pool = try await openPool(scratch.appending("pool")).pool
            _ = try await pool.create(newRecord("v"))
            let device = try await pool.attach("v")
            do {
                let file = try OpenFile(device, O_RDONLY)
                #expect(await failure { try await pool.remove("v") }?.code == .failedPrecondition)
                try file.sync()
            }
            let node = try scratch.makeImage("node", size: 0)
            try Mount.bind(try OpenFile(place: device), at: try OpenFile(place: node), options: MountOptions())
            let error = await failure { try await pool.detach("v") }
            #expect(error?.code == .failedPrecondition && error?.message.contains(node.string) == true)
            try Mount.unmount(node)
            try await pool.remove("v")
        }
    }

    @Test func oneProcessAtATimeUsesAPool() async throws {
        try await Scratch.with { scratch in
            let directory = scratch.appending("pool")
            let first = try await openPool(directory).pool
            let error = await failure { _ = try await openPool(directory) }
            #expect(error?.code == .failedPrecondition)
            #expect(error?.description.contains("process \(getpid())") == true)
            try await first.check()
        }
    }

    @Test func takesNoDirectoryThatHoldsSomethingElse() async throws {
        try await Scratch.with { scratch in
            let directory = try scratch.makeDirectory("pool")
            try DurableFile.write([1], to: directory.appending("precious"))
            #expect(await failure { _ = try await openPool(directory) }?.code == .failedPrecondition)
            #expect(try DurableFile.names(in: directory) == ["precious"])
            #expect(await failure { _ = try await openPool("relative/pool") }?.code == .invalidArgument)
            #expect(await failure { _ = try await openPool(scratch.appending("no/such/parent")) }?.code == .notFound)
            let odd = try scratch.makeDirectory("odd")
            try DurableFile.write(Array(#"{"format":2,"kind":"images","id":"x"}"#.utf8), to: odd.appending("pool.json"))
            #expect(await failure { _ = try await openPool(odd) }?.code == .unsupported)
            try DurableFile.write(Array("nonsense".utf8), to: odd.appending("pool.json"))
            #expect(await failure { _ = try await openPool(odd) }?.code == .corrupt)
        }
    }

    @Test func noticesThatItsDirectoryWasExchanged() async throws {
        try await Scratch.with { scratch in
            let directory = scratch.appending("pool")
            let pool = try await openPool(directory).pool
            try DurableFile.rename(directory, to: scratch.appending("elsewhere"))
            #expect(await failure { try await pool.check() }?.code == .unavailable)
            try DurableFile.makeDirectory(directory)
            #expect(await failure { try await pool.check() }?.code == .unavailable)
        }
    }
}
