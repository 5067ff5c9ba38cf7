import CSI
import DeviceTestSupport
import Errors
import Foundation
import LinuxSystem
import LocalVolumes
import Persistence
import SystemPackage
import Testing

@testable import CSINode

/// A pool whose file system somebody else fills.
@Suite(.serialized) struct PoolWatchTests {
    private static let volumeBytes: Int64 = 64 << 20
    private static let written = 40 << 20

    /// Clean local copies, the one that was used last at the end.
    private func makeCopies(_ node: TestNode, _ harness: NodeHarness, _ names: [String]) async throws -> [VolumeRecord]
    {
        var volumes: [VolumeRecord] = []
        for name in names {
            let volume = try await harness.volume(name, bytes: Self.volumeBytes)
            let path = try await node.publish(volume)
            let random = try FileHandle(forReadingFrom: URL(fileURLWithPath: "/dev/urandom"))
            try #require(try random.read(upToCount: Self.written)).write(to: URL(fileURLWithPath: path + "/data"))
            try await node.unpublish(volume)
            volumes.append(volume)
            // Records count in seconds.
            try await Task.sleep(for: .milliseconds(1100))
        }
        return volumes
    }

    private func copies(in pool: FilePath) throws -> Set<String> {
        Set(try DurableFile.names(in: pool.appending("volumes")))
    }

    private func condition(of volume: VolumeRecord, on node: TestNode) async throws -> VolumeCondition {
        let answer = try await node.plugin.nodeGetVolumeStats(
            NodeGetVolumeStatsRequest(volumeID: volume.volume.rawValue, volumePath: "\(node.pods)/pod"),
            context: node.context())
        return try #require(answer.volumeCondition)
    }

    /// Fills the file system until `left` bytes are left of it.
    private func fill(_ file: FilePath, leaving left: UInt64) throws {
        let available = try FileSystemStats(of: file.removingLastComponent()).availableBytes
        let open = try OpenFile(file, O_RDWR | O_CREAT)
        guard posix_fallocate(open.descriptor, 0, off_t(available - left)) == 0 else {
            throw PerSSDError(.internal, "cannot fill \(file)")
        }
    }

    @Test func whatIsCleanGivesWayTheLeastRecentlyUsedFirstAndTheRestIsTold() async throws {
        try await Scratch.with { scratch in
            let harness = try await NodeHarness()
            // It shares no blocks, so there are no bases that could go first.
            let place = try scratch.makeFileSystem("ext4", "ext4", size: 1 << 30)
            let pool = place.appending("pool")
            let node = try await harness.node("a", pool: pool, poolSize: nil)
            let volumes = try await makeCopies(node, harness, ["first", "second", "third"])
            let names = volumes.map(\.volume.rawValue)
            await node.plugin.poolWatch.look()
            #expect(try copies(in: pool) == Set(names))

            // The third one stays in use. What the others may take of the reserve, all but a quarter, they may.
            try await node.publish(volumes[2])
            let reserve = try FileSystemStats(of: place).totalBytes / 20
            try fill(place.appending("theirs"), leaving: reserve / 2)
            await node.plugin.poolWatch.look()
            #expect(try copies(in: pool) == Set(names))

            try fill(place.appending("more"), leaving: reserve / 8)
            await node.plugin.poolWatch.look()
            #expect(try copies(in: pool) == Set(names[1...]))
            #expect(try await condition(of: volumes[2], on: node).abnormal == false)

            try fill(place.appending("still more"), leaving: 1 << 20)
            await node.plugin.poolWatch.look()
            #expect(try copies(in: pool) == [names[2]])
            try fill(place.appending("all"), leaving: 1 << 20)
            await node.plugin.poolWatch.look()
            let told = try await condition(of: volumes[2], on: node)
            #expect(told.abnormal)
            #expect(told.message.contains("the pool 'default' is short of room"), "\(told.message)")
            #expect(told.message.contains("make room in it"), "\(told.message)")
            let refused = await #expect(throws: PerSSDError.self) {
                try await node.publish(try await harness.volume("new", bytes: Self.volumeBytes), pod: "new")
            }
            #expect(refused?.code == .resourceExhausted)

            for file in ["theirs", "more", "still more", "all"] { try DurableFile.removeIfThere(place.appending(file)) }
            await node.plugin.poolWatch.look()
            #expect(try await condition(of: volumes[2], on: node).abnormal == false)
            try await node.unpublish(volumes[2])
        }
    }

    @Test func basesGoBeforeCopies() async throws {
        try await Scratch.with { scratch in
            let harness = try await NodeHarness()
            let place = try scratch.makeFileSystem("xfs", "xfs", size: 1 << 30)
            let pool = place.appending("pool")
            let node = try await harness.node("a", pool: pool, poolSize: nil)
            let volume = try await makeCopies(node, harness, ["based"])[0]
            let path = try await node.publish(volume)
            // Now the base has blocks of its own.
            try Data(repeating: 7, count: Self.written).write(to: URL(fileURLWithPath: path + "/data"))
            sync()
            let files = pool.appending("volumes").appending(volume.volume.rawValue)
            #expect(try DurableFile.names(in: files).contains { $0.hasPrefix("base") })
            try fill(place.appending("theirs"), leaving: 4 << 20)
            await node.plugin.poolWatch.look()
            #expect(try DurableFile.names(in: files).contains { $0.hasPrefix("base") } == false)
            #expect(try await condition(of: volume, on: node).abnormal == false)
            try DurableFile.removeIfThere(place.appending("theirs"))
            try await node.unpublish(volume)
        }
    }

    @Test func itLooksByItselfAndEndsWhenItIsTold() async throws {
        try await Scratch.with { scratch in
            let harness = try await NodeHarness()
            let place = try scratch.makeFileSystem("ext4", "ext4", size: 1 << 30)
            let pool = place.appending("pool")
            let node = try await harness.node("a", pool: pool, poolSize: nil, watchInterval: .milliseconds(100))
            let volume = try await makeCopies(node, harness, ["idle"])[0]
            let running = Task { await node.plugin.run() }
            #expect(try copies(in: pool) == [volume.volume.rawValue])
            try fill(place.appending("theirs"), leaving: 1 << 20)
            let deadline = ContinuousClock.now + .seconds(20)
            while try !copies(in: pool).isEmpty, .now < deadline { try await Task.sleep(for: .milliseconds(50)) }
            #expect(try copies(in: pool).isEmpty)
            running.cancel()
            await running.value
        }
    }
}
