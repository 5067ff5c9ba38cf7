import DeviceTestSupport
import Errors
import Foundation
import NodeControl
import Persistence
import Synchronization
import Testing
import VolumeEvents

@testable import CSINode

/// Flushes of a node with a real pool, on a real store.
@Suite(.serialized) struct NodeFlushTests {
    private func flush(_ node: TestNode, within limit: Duration? = nil) async throws -> FlushReport {
        var last: FlushReport?
        for await report in await node.plugin.flush(until: limit.map { .now + $0 }) { last = report }
        return try #require(last)
    }

    @Test func whatPodsHaveIsSavedUnderThem() async throws {
        try await Scratch.with { scratch in
            let harness = try await NodeHarness()
            let xfs = try scratch.makeFileSystem("xfs", "xfs", size: 1 << 30)
            let node = try await harness.node("a", pool: xfs.appending("pool"))
            let volume = try await harness.volume("written")
            let untouched = try await harness.volume("untouched")
            let path = try await node.publish(volume)
            #expect(FileManager.default.createFile(atPath: path + "/data", contents: Data("kept".utf8)))
            try await node.publish(untouched, pod: "other")
            try await node.unpublish(untouched, pod: "other")

            let first = try await flush(node)
            #expect(first.isComplete && first.node == "test/a")
            // What no pod has, and is committed, is no matter of a flush.
            #expect(first.volumes.map(\.name) == ["written"])
            #expect(first.volumes.first?.outcome == .committed && first.volumes.first?.generation == 1)
            #expect(first.volumes.first?.isPublished == true)
            #expect(try await harness.catalog.head(volume.volume).value.newest?.number == 1)
            #expect(try await harness.catalog.head(volume.volume).value.lease?.state == .open)

            try await node.unpublish(volume)
            let last = try await flush(node)
            #expect(last.isComplete && last.volumes.isEmpty)
        }
    }

    /// Where the pool can't cut under a pod, nothing is saved, and the report must not say anything else.
    @Test func whatCannotBeSavedIsSaid() async throws {
        let harness = try await NodeHarness()
        let told = Mutex<[String]>([])
        let node = try await harness.node(
            "a",
            events: EventSink { event in
                if event.occurrence.reason == .notSaved { told.withLock { $0.append(event.note) } }
            })
        let volume = try await harness.volume("stuck")
        let path = try await node.publish(volume)
        #expect(FileManager.default.createFile(atPath: path + "/data", contents: Data("kept".utf8)))
        let report = try await flush(node, within: .seconds(30))
        #expect(!report.isComplete)
        #expect(report.volumes.map(\.outcome) == [.failed])
        #expect(report.volumes.first?.detail?.contains("unpublish the volume first") == true)
        #expect(told.withLock { $0.count } == 1)
        #expect(told.withLock { $0.first?.contains("unpublish the volume first") } == true)
        #expect(try await harness.catalog.head(volume.volume).value.newest == nil)
        try await node.unpublish(volume)
        #expect(try await harness.catalog.head(volume.volume).value.newest?.number == 1)
    }

    /// A deadline that has passed begins nothing, and says so.
    @Test func afterTheDeadlineNothingIsBegun() async throws {
        try await Scratch.with { scratch in
            let harness = try await NodeHarness()
            let xfs = try scratch.makeFileSystem("xfs", "xfs", size: 1 << 30)
            let told = Mutex<[Reason]>([])
            let node = try await harness.node(
                "a", pool: xfs.appending("pool"),
                events: EventSink { event in told.withLock { $0.append(event.occurrence.reason) } })
            let volume = try await harness.volume("late")
            try await node.publish(volume)
            let report = try await flush(node, within: .zero)
            #expect(told.withLock { $0 } == [.notSaved])
            #expect(report.volumes.map(\.outcome) == [.notBegun] && !report.isComplete)
            #expect(try await harness.catalog.head(volume.volume).value.newest == nil)
            try await node.unpublish(volume)
        }
    }
}
