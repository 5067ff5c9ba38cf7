import DeviceTestSupport
import Errors
import Foundation
import Persistence
import Testing

@testable import CSINode

/// What a node does for snapshots of volumes that its pods have.
@Suite(.serialized) struct SnapshotDeliveryTests {
    @Test func aSnapshotIsCutAtOnceAndReadyWhenItIsCommitted() async throws {
        try await Scratch.with { scratch in
            let harness = try await NodeHarness()
            let volume = try await harness.volume("snapshot")
            let xfs = try scratch.makeFileSystem("xfs", "xfs", size: 1 << 30)
            let node = try await harness.node("a", pool: xfs.appending("pool"))
            let path = try await node.publish(volume)
            try Data("before".utf8).write(to: URL(fileURLWithPath: path + "/before"))
            let first = try await harness.catalog.createSnapshot(name: "first", of: volume.volume)
            #expect(!first.isReady)
            try await node.plugin.deliver(first.snapshot, until: .now + .seconds(60))
            let cut = try await harness.catalog.snapshot(first.snapshot)
            #expect(cut.isReady || cut.delivery?.cutAt != nil)
            try Data("after".utf8).write(to: URL(fileURLWithPath: path + "/after"))
            let ready = try await ready(first, harness)
            #expect(ready.generation?.number == 1)
            // Asked again, a snapshot that is there costs nothing.
            try await node.plugin.deliver(first.snapshot, until: .now + .seconds(60))
            #expect(try await harness.catalog.volume(volume.volume).head.newest?.number == 1)

            // Several at once share cuts, and each holds what was written before it was asked for.
            let more = try await (0..<3).asyncMap {
                try await harness.catalog.createSnapshot(name: "more-\($0)", of: volume.volume)
            }
            try await withThrowingTaskGroup(of: Void.self) { group in
                for snapshot in more + more {
                    group.addTask { try await node.plugin.deliver(snapshot.snapshot, until: .now + .seconds(60)) }
                }
                try await group.waitForAll()
            }
            for snapshot in more {
                let generation = try #require(try await self.ready(snapshot, harness).generation)
                #expect(generation.number >= 2)
            }
            try await node.unpublish(volume)
            #expect(try await harness.catalog.snapshot(first.snapshot).generation?.number == 1)

            // A clone of the first has what was written before it, and not what came after.
            let clone = try await harness.catalog.createVolume(
                NewVolume(
                    name: "clone", requiredBytes: 0, limitBytes: 0, parameters: volume.parameters, claim: nil,
                    source: .snapshot(first.snapshot)))
            let there = try await node.publish(clone, pod: "clone")
            #expect(FileManager.default.contents(atPath: there + "/before") == Data("before".utf8))
            #expect(!FileManager.default.fileExists(atPath: there + "/after"))
            try await node.unpublish(clone, pod: "clone")
        }
    }

    @Test func aSnapshotThatIsNotThisNodesIsRefused() async throws {
        let harness = try await NodeHarness()
        let volume = try await harness.volume("elsewhere")
        let (a, b) = (try await harness.node("a"), try await harness.node("b"))
        try await a.publish(volume)
        let snapshot = try await harness.catalog.createSnapshot(name: "s", of: volume.volume)
        let error = await #expect(throws: PerSSDError.self) {
            try await b.plugin.deliver(snapshot.snapshot, until: .now + .seconds(60))
        }
        #expect(error?.code == .failedPrecondition && error?.message.contains("test/a") == true)
        try await a.unpublish(volume)
    }

    @Test func aSnapshotThatIsDeletedMeanwhileHoldsNothingUp() async throws {
        try await Scratch.with { scratch in
            let harness = try await NodeHarness()
            let volume = try await harness.volume("deleted")
            let xfs = try scratch.makeFileSystem("xfs", "xfs", size: 1 << 30)
            let node = try await harness.node("a", pool: xfs.appending("pool"))
            try await node.publish(volume)
            let snapshot = try await harness.catalog.createSnapshot(name: "s", of: volume.volume)
            try await harness.catalog.deleteSnapshot(snapshot.snapshot)
            let error = await #expect(throws: PerSSDError.self) {
                try await node.plugin.deliver(snapshot.snapshot, until: .now + .seconds(60))
            }
            #expect(error?.code == .notFound)
            try await node.unpublish(volume)
            #expect(try await harness.catalog.volume(volume.volume).head.newest?.number == 1)
        }
    }

    private func ready(_ snapshot: SnapshotRecord, _ harness: NodeHarness) async throws -> SnapshotRecord {
        for _ in 0..<600 {
            let record = try await harness.catalog.snapshot(snapshot.snapshot)
            if record.isReady { return record }
            try await Task.sleep(for: .milliseconds(50))
        }
        throw PerSSDError(.deadlineExceeded, "\(snapshot.name) is not ready")
    }
}

extension Sequence where Element: Sendable {
    fileprivate func asyncMap<Value>(_ body: (Element) async throws -> Value) async throws -> [Value] {
        var values: [Value] = []
        for element in self { values.append(try await body(element)) }
        return values
    }
}
