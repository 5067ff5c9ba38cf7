import DeviceTestSupport
import Errors
import Foundation
import LinuxSystem
import SystemPackage
import Testing

@testable import LocalVolumes

@Suite struct CutTests {
    @Test func withoutSharingTheCopyIsTheCut() async throws {
        try await Scratch.with { scratch in
            let directory = try scratch.makeFileSystem("ext4", "ext4", size: 128 << 20).appending("pool")
            let pool = try await openPool(directory).pool
            #expect(!pool.cutsAreInstant)
            _ = try await pool.create(newRecord("v"))
            // Not synced: the cut has to see to that.
            let device = try await OpenFile(pool.attach("v"), O_RDWR)
            try [UInt8](repeating: 3, count: 100_000).withUnsafeBytes { try device.write(at: 0, from: $0) }
            let cut = try await pool.cut("v")
            #expect(!cut.isIndependent)
            #expect(try read(cut.path, count: 100_000) == [UInt8](repeating: 3, count: 100_000))
            #expect(try await pool.changes(in: cut, since: 0) == nil)
            try await pool.keep(cut, asBaseFor: 1)
            try await pool.keepCopy("v", asBaseFor: 1)
            #expect(try await pool.pendingCut("v") == nil)
            let second = try await pool.cut("v")
            #expect(try await pool.changes(in: second, since: 1) == nil)
            try await pool.discard(second)
            #expect(try FileStatus.of(cut.path) != nil)
        }
    }

    @Test func aCutDoesNotMindAVolumeThatIsBeingRemoved() async throws {
        try await Scratch.with { scratch in
            let directory = try PoolPlace.xfs.makeDirectory(in: scratch)
            let pool = try await openPool(directory).pool
            for volume in ["v", "going"] { _ = try await pool.create(newRecord(volume)) }
            // As a removal has it between its files and the books.
            try FileManager.default.removeItem(atPath: directory.appending("volumes/going").string)
            let cut = try await pool.cut("v")
            #expect(cut.isIndependent)
            // Whoever made it has died: the next one has none in its way.
            try await pool.discardPendingCut("v")
            try await pool.discardPendingCut("v")
            #expect(try await pool.pendingCut("v") == nil)
            _ = try await pool.cut("v")
        }
    }

    @Test func withSharingACutStaysAsItWas() async throws {
        try await Scratch.with { scratch in
            let directory = try PoolPlace.xfs.makeDirectory(in: scratch)
            let pool = try await openPool(directory).pool
            _ = try await pool.create(newRecord("v"))
            let device = try await pool.attach("v")
            try write([UInt8](repeating: 3, count: 1 << 20), to: device)
            let cut = try await pool.cut("v")
            #expect(cut.isIndependent)
            try write([UInt8](repeating: 4, count: 1 << 20), to: device)
            #expect(try read(cut.path, count: 1 << 20) == [UInt8](repeating: 3, count: 1 << 20))
            #expect(try await pool.changes(in: cut, since: 1) == nil)
            #expect(await failure { _ = try await pool.cut("v") }?.code == .failedPrecondition)
            #expect(try await pool.pendingCut("v") == cut)
            try await pool.keep(cut, asBaseFor: 1)
            try await pool.keep(cut, asBaseFor: 1)
            #expect(try await pool.pendingCut("v") == nil)
            #expect(await failure { try await pool.keep(cut, asBaseFor: 2) }?.code == .notFound)
            let second = try await pool.cut("v")
            #expect(try await pool.changes(in: second, since: 1) == [0..<mebibyte])
            try await pool.keep(second, asBaseFor: 2)
            #expect(
                try DurableFile.names(in: directory.appending("volumes/v")) == ["base-2", "image", "record.json"])
            let third = try await pool.cut("v")
            #expect(try await pool.changes(in: third, since: 2) == [])
            #expect(try await pool.changes(in: third, since: 1) == nil)
            try await pool.discard(third)
            try await pool.discard(third)
            // A restored copy becomes a base of its own.
            try write([5], to: device, at: 8 * mebibyte)
            try await pool.keepCopy("v", asBaseFor: 9)
            let fourth = try await pool.cut("v")
            #expect(try await pool.changes(in: fourth, since: 9) == [])
            try await pool.remove("v")
            #expect(try DurableFile.names(in: directory.appending("volumes")).isEmpty)
        }
    }

    @Test(arguments: [CopyRecord.State.dirty, .clean, .restoring])
    func aStartKeepsTheCutOfADirtyCopyOnly(_ state: CopyRecord.State) async throws {
        try await Scratch.with { scratch in
            let directory = try PoolPlace.xfs.makeDirectory(in: scratch)
            do {
                let pool = try await openPool(directory).pool
                _ = try await pool.create(newRecord("v"))
                try await pool.keepCopy("v", asBaseFor: 3)
                _ = try await pool.cut("v")
                try await pool.save(newRecord("v", state: state))
                try Reflink.clone(
                    directory.appending("volumes/v/image"), to: directory.appending("volumes/v/base-12"))
            }
            let pool = try await openPool(directory).pool
            #expect(try await (pool.pendingCut("v") != nil) == (state == .dirty))
            let bases = try DurableFile.names(in: directory.appending("volumes/v")).filter { $0.hasPrefix("base") }
            #expect(bases == ["base-12"])
        }
    }

    @Test func aBaseGoesWhereThePoolIsShortOfRoom() async throws {
        try await Scratch.with { scratch in
            let directory = try scratch.makeFileSystem("xfs", "xfs", size: 512 << 20).appending("pool")
            let pool = try await openPool(directory).pool
            _ = try await pool.create(newRecord("v", size: 256 * mebibyte))
            let device = try await pool.attach("v")
            try write([UInt8](repeating: 1, count: 40 << 20), to: device)
            try await pool.keepCopy("v", asBaseFor: 1)
            let cut = try await pool.cut("v")
            #expect(try await pool.changes(in: cut, since: 1) == [])
            try await pool.discard(cut)
            for piece in 0..<5 as Range<UInt64> {
                try write([UInt8](repeating: 2, count: 40 << 20), to: device, at: piece * 40 * mebibyte)
            }
            try await pool.keepCopy("v", asBaseFor: 2)
            let second = try await pool.cut("v")
            #expect(try await pool.changes(in: second, since: 2) == nil)
        }
    }

    /// Writes, discards and zeroes at random through a file system or the device itself, and compares what the extents say
    /// with the bytes.
    @Test(arguments: [1, 2]) func changesCoverEveryByteThatDiffers(_ seed: UInt64) async throws {
        try await Scratch.with { scratch in
            let pool = try await openPool(try PoolPlace.xfs.makeDirectory(in: scratch)).pool
            let size = 16 * mebibyte
            _ = try await pool.create(newRecord("v", size: size))
            let device = try await pool.attach("v")
            var random = SmallRandom(state: seed)
            try change(device, size, times: 60, &random)
            try await pool.keepCopy("v", asBaseFor: 0)
            var before = try read(device, count: Int(size))
            var touchedAfterCut: UInt64 = 0
            for generation in 1...5 as ClosedRange<UInt64> {
                let times = Int.random(in: 0...40, using: &random)
                let touched = try change(device, size, times: times, &random)
                let cut = try await pool.cut("v")
                // Whatever is written after the cut is no part of it.
                let later = try change(device, size, times: 5, &random)
                let after = try read(cut.path, count: Int(size))
                let ranges = try #require(try await pool.changes(in: cut, since: generation - 1))
                var listed = [Bool](repeating: false, count: Int(size / 4096))
                for range in ranges {
                    #expect(range.lowerBound % 4096 == 0 && range.upperBound % 4096 == 0 && range.upperBound <= size)
                    for block in range.lowerBound / 4096..<range.upperBound / 4096 { listed[Int(block)] = true }
                }
                for block in 0..<Int(size / 4096) where !listed[block] {
                    let bytes = block * 4096..<(block + 1) * 4096
                    let isSame = before.withUnsafeBytes { a in
                        after.withUnsafeBytes { b in
                            memcmp(a.baseAddress! + bytes.lowerBound, b.baseAddress! + bytes.lowerBound, bytes.count)
                                == 0
                        }
                    }
                    try #require(isSame, "block \(block) of generation \(generation)")
                }
                // And not much more: what was touched, in whole blocks of 4 KiB, since the last cut.
                #expect(ranges.reduce(0) { $0 + $1.upperBound - $1.lowerBound } <= touched + touchedAfterCut)
                touchedAfterCut = later
                before = after
                try await pool.keep(cut, asBaseFor: generation)
            }
        }
    }

    @discardableResult
    private func change(
        _ device: FilePath, _ size: UInt64, times: Int, _ random: inout SmallRandom
    ) throws -> UInt64 {
        var touched: UInt64 = 0
        let file = try OpenFile(device, O_RDWR)
        for _ in 0..<times {
            let start = UInt64.random(in: 0..<size / 4096, using: &random) * 4096
            let length = min(UInt64.random(in: 1...70, using: &random) * 4096, size - start)
            touched += length
            switch UInt8.random(in: 0..<8, using: &random) {
            case 0: try BlockDevice.discard(device, start..<start + length)
            case 1: try BlockDevice.zero(device, start..<start + length)
            default:
                let byte = UInt8.random(in: 0...255, using: &random)
                try [UInt8](repeating: byte, count: Int(length)).withUnsafeBytes { try file.write(at: start, from: $0) }
            }
        }
        try file.sync()
        return touched
    }
}

struct SmallRandom: RandomNumberGenerator {
    var state: UInt64

    /// SplitMix64.
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
