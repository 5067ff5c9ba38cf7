import DeviceTestSupport
import Foundation
import LinuxSystem
import Persistence
import SystemPackage
import Testing

@testable import CSINode

/// What the loss of a node would cost a volume, as the node tells it without asking the bucket.
@Suite(.serialized) struct RecoveryPointTests {
    private let now = Date(timeIntervalSince1970: 1_000_000)

    @Test func itIsToldInWords() {
        var exposure = RecoveryExposure(generation: 3, since: now - 90, unsavedBytes: 5 << 20)
        #expect(
            exposure.text(at: now) == "the newest generation is 3, 1 min 30 s old, and 5.0 MiB were written since")
        exposure.unsavedBytes = nil
        exposure.generation = nil
        #expect(
            exposure.text(at: now) == "nothing of the volume has been staged out yet, and it is open for 1 min 30 s")
        // Another machine's clock may be ahead.
        exposure.since = now + 10
        #expect(exposure.age(at: now) == .zero)
    }

    @Test func itIsInTheConditionWhateverElseIsWrong() {
        var report = VolumeReport(problems: [], recoveryPoint: "the newest generation is 3")
        #expect(report.condition.message == "the volume can be used, and so can the bucket; the newest generation is 3")
        report.problems = [String(repeating: "x", count: 5000)]
        #expect(report.condition.abnormal && report.condition.message.hasSuffix(" ...; the newest generation is 3"))
        #expect(report.condition.message.count == 2000)
    }

    @Test func itFollowsWhatIsWrittenAndStagedOut() async throws {
        try await Scratch.with { scratch in
            let harness = try await NodeHarness()
            let volume = try await harness.volume("exposed")
            let xfs = try scratch.makeFileSystem("xfs", "xfs", size: 1 << 30)
            let node = try await harness.node("a", pool: xfs.appending("pool"))
            let id = volume.volume
            func exposure() async -> RecoveryExposure? { await node.plugin.volumes.exposures()[id] }
            func write(_ name: String, _ bytes: Int, in path: String) throws {
                let file = try OpenFile(FilePath(path + "/" + name), O_RDWR | O_CREAT, mode: 0o600)
                let data = Array(repeating: UInt8(7), count: bytes)
                try data.withUnsafeBytes { try file.write(at: 0, from: $0) }
                try file.sync()
            }

            var path = try await node.publish(volume)
            var known = try #require(await exposure())
            #expect(known.generation == nil && known.age(at: Date()) < .seconds(60))
            let before = try #require(known.unsavedBytes)
            try write("first", 4 << 20, in: path)
            #expect(try #require(await exposure()?.unsavedBytes) >= before + 4 << 20)

            let actor = await node.plugin.volumes.actor(for: id)
            try await actor.checkpoint(until: .now + .seconds(60))
            known = try #require(await exposure())
            #expect(known.generation == 1 && known.age(at: Date()) < .seconds(60))
            #expect(try #require(known.unsavedBytes) < 1 << 20)

            try write("second", 4 << 20, in: path)
            #expect(try #require(await exposure()?.unsavedBytes) >= 4 << 20)
            try await node.unpublish(volume)
            #expect(await exposure() == nil)

            // Nothing is fetched, and the count begins anew.
            path = try await node.publish(volume)
            known = try #require(await exposure())
            #expect(known.generation == 2)
            #expect(try #require(known.unsavedBytes) < 1 << 20)
            try await node.unpublish(volume)
        }
    }
}
