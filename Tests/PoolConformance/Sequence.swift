import ArgumentParser
import Foundation
import LinuxSystem
import LocalVolumes
import SystemPackage

/// Asks a pool for all that it can be asked for, once, and looks whether it is so.
struct SequenceCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "sequence")

    @OptionGroup var options: PoolOptions

    private static let mebibyte: UInt64 = 1 << 20
    private static let size: UInt64 = 64 << 20
    /// What a pool may take a change to be, at the most.
    private static let chunk: UInt64 = 64 << 10

    func run() async throws {
        var record = CopyRecord(
            volume: "vol-a-tmeta", incarnation: "i 1", lineage: "l#1", epoch: 1, generation: 0, state: .restoring,
            sizeBytes: Self.size, lastUsed: 1_700_000_000)
        let volume = record.volume
        let free: UInt64
        do {
            let pool = try await options.open()
            try require(try await pool.recover().isEmpty, "the pool is not empty")
            free = try await pool.usage().freeBytes
            try await create(pool, record)
            record.state = .dirty
            record.epoch = 2
            try await pool.save(record)
            if pool.cutsAreInstant { try await cuts(pool, volume) }
            record.generation = 2
            try await pool.save(record)
            try await resize(pool, &record)
            try await requireError(.failedPrecondition) { _ = try await options.open() }
            say("a second process is kept out")
        }
        let pool = try await options.open()
        let found = try await pool.recover()
        try require(found.map(\.record) == [record], "another record is found: \(found)")
        let device = try await pool.attach(volume)
        try require(try DeviceBytes.holds(3, 0..<Self.mebibyte, in: device), "other contents")
        say("recovered")
        try await remove(pool, volume, device)
        try require(try await pool.usage().freeBytes == free, "room was lost")
        say("sequence passed on \(pool.location)")
    }

    private func create(_ pool: any VolumePool, _ record: CopyRecord) async throws {
        let free = try await pool.usage().freeBytes
        _ = try await pool.create(record)
        try require(try await pool.usage().freeBytes == free - Self.size, "the promise is not counted")
        try await requireError(.alreadyExists) { _ = try await pool.create(record) }
        var large = record
        large.volume = "vol-large"
        large.sizeBytes = 1 << 44
        let tooLarge = large
        try await requireError(.resourceExhausted) { _ = try await pool.create(tooLarge) }
        let device = try await pool.attach(record.volume)
        try require(try await pool.attach(record.volume) == device, "the device changes")
        try require(try BlockDevice.sizeBytes(device) == Self.size, "the device has another size")
        try require(try DeviceBytes.holds(0, 0..<Self.size, in: device), "a new copy is not all zeros")
        try DeviceBytes.write(1, 0..<4 * Self.mebibyte, to: device)
        try await pool.check()
        say("created")
    }

    private func cuts(_ pool: any VolumePool, _ volume: String) async throws {
        let device = try await pool.attach(volume)
        let first = try await pool.cut(volume)
        try require(first.isIndependent, "the cut is the copy")
        try require(try await pool.pendingCut(volume) == first, "another cut is pending")
        try await requireError(.failedPrecondition) { _ = try await pool.cut(volume) }
        let changed = 2 * Self.mebibyte + 8192..<2 * Self.mebibyte + 12288
        try DeviceBytes.write(2, changed, to: device)
        try require(try DeviceBytes.holds(1, 0..<4 * Self.mebibyte, in: first.path), "the cut changes with the copy")
        try require(
            try DeviceBytes.holds(0, 4 * Self.mebibyte..<Self.size, in: first.path), "the cut has something of its own")
        if let allocated = try await pool.allocatedRanges(of: first) {
            try require(allocated == [0..<4 * Self.mebibyte], "allocated are \(allocated)")
            say("allocated ranges are exact")
        }
        try await pool.keep(first, asBaseFor: 1)
        try await pool.keep(first, asBaseFor: 1)
        try require(try await pool.pendingCut(volume) == nil, "a kept cut is pending")

        let base = try await pool.base(of: volume, for: 1)
        try require(
            try base.map { try DeviceBytes.holds(1, 0..<4 * Self.mebibyte, in: $0) } == true,
            "the base is not what was kept")
        try require(try await pool.base(of: volume, for: 99) == nil, "there is a base of no generation")
        let second = try await pool.cut(volume)
        let changes = try await pool.changes(in: second, since: 1) ?? []
        try require(changes.contains { $0.contains(changed.lowerBound) }, "\(changes) lack what changed")
        try require(changes.reduce(0) { $0 + $1.count } <= Int(Self.chunk), "\(changes) are too many")
        try require(try await pool.changes(in: second, since: 99) == nil, "there is a generation that is not there")
        try await pool.discard(second)
        try require(try await pool.pendingCut(volume) == nil, "a discarded cut is pending")

        try DeviceBytes.write(3, 0..<Self.mebibyte, to: device)
        try BlockDevice.discard(device, 3 * Self.mebibyte..<4 * Self.mebibyte)
        let third = try await pool.cut(volume)
        let more = try await pool.changes(in: third, since: 1) ?? []
        let freed = 3 * Self.mebibyte..<4 * Self.mebibyte
        try require(more.contains { $0.contains(freed.lowerBound) }, "\(more) lack what was discarded")
        try require(try DeviceBytes.holds(0, freed, in: third.path), "what was discarded is no zeros")
        try await pool.keep(third, asBaseFor: 2)
        let fourth = try await pool.cut(volume)
        try require(
            try await pool.changes(in: fourth, since: 2) == [], "nothing changed, and something is said to have")
        try require(try await pool.changes(in: fourth, since: 1) == nil, "an old base is there")
        try await pool.discard(fourth)
        try await pool.keepCopy(volume, asBaseFor: 3)
        let fifth = try await pool.cut(volume)
        try require(try await pool.changes(in: fifth, since: 3) == [], "the copy as a base is not the copy")
        try await pool.discard(fifth)
        say("cut, kept and compared")
    }

    private func resize(_ pool: any VolumePool, _ record: inout CopyRecord) async throws {
        let volume = record.volume
        try DeviceBytes.write(3, 0..<Self.mebibyte, to: try await pool.attach(volume))
        try await requireError(.outOfRange) { try await pool.resize(volume, toBytes: 4 * Self.mebibyte) }
        try await requireError(.resourceExhausted) { try await pool.resize(volume, toBytes: 1 << 44) }
        try await pool.resize(volume, toBytes: 2 * Self.size)
        try await pool.resize(volume, toBytes: 2 * Self.size)
        record.sizeBytes = 2 * Self.size
        try await pool.save(record)
        let device = try await pool.attach(volume)
        try require(try BlockDevice.sizeBytes(device) == 2 * Self.size, "the device has not grown")
        try require(try DeviceBytes.holds(0, Self.size..<2 * Self.size, in: device), "what was added is no zeros")
        try await pool.detach(volume)
        try await pool.detach(volume)
        say("resized")
    }

    private func remove(_ pool: any VolumePool, _ volume: String, _ device: FilePath) async throws {
        do {
            let file = try OpenFile(device, O_RDONLY)
            try await requireError(.failedPrecondition) { try await pool.remove(volume) }
            _ = try file.status()
        }
        try require(try DeviceBytes.holds(3, 0..<Self.mebibyte, in: try await pool.attach(volume)), "half removed")
        try await pool.remove(volume)
        try await pool.remove(volume)
        try await requireError(.notFound) { _ = try await pool.attach(volume) }
        try require(try await pool.recover().isEmpty, "something is left")
        say("removed")
    }
}
