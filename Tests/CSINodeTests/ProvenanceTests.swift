import CSI
import DeviceTestSupport
import Errors
import Foundation
import Persistence
import TestSupport
import Testing

@testable import CSINode

/// Who made a generation what it is, told by real publishes.
@Suite(.serialized) struct ProvenanceTests {
    private func context(_ pod: String, labels: [String: String] = [:]) -> [String: String] {
        var context = [
            Driver.PodInfoKey.name: pod, Driver.PodInfoKey.namespace: "lab", Driver.PodInfoKey.uid: "uid-\(pod)",
            Driver.PodInfoKey.serviceAccount: "runner", "csi.storage.k8s.io/ephemeral": "false",
        ]
        for (name, value) in labels { context[Driver.VolumeContextKey.workflowPrefix + name] = value }
        return context
    }

    private func newest(_ volume: VolumeRecord, _ harness: NodeHarness) async throws -> GenerationRecord {
        let head = try await harness.catalog.volume(volume.volume).head
        return try await harness.catalog.generation(try #require(head.newest))
    }

    private func write(_ text: String, _ path: String) throws {
        try Data(text.utf8).write(to: URL(fileURLWithPath: path + "/" + text))
    }

    @Test func anUnpublishTellsOfAllThatHadTheVolume() async throws {
        let harness = try await NodeHarness()
        let volume = try await harness.volume("told")
        let node = try await harness.node("a")
        let begin = harness.catalog.time
        let path = try await node.publish(
            volume, pod: "first", context: context("step", labels: ["run": "17", "-bad": "left out"]))
        try await node.publish(volume, pod: "second", readOnly: true, context: context("reader"))
        try await node.publish(volume, pod: "third")
        try write("data", path)
        for pod in ["first", "second", "third"] { try await node.unpublish(volume, pod: pod) }
        let first = try await newest(volume, harness)
        let provenance = first.provenance
        #expect(first.number == 1 && first.parent == nil)
        let uses = try #require(provenance.uses)
        #expect(uses.map(\.pod?.name) == ["step", "reader"])
        #expect(uses[0].pod == .init(namespace: "lab", name: "step", uid: "uid-step", serviceAccount: "runner"))
        #expect(uses.map(\.labels) == [["run": "17"], nil])
        #expect(uses.map(\.isReadOnly) == [false, true])
        let started = try #require(provenance.startedAt)
        #expect(started >= begin && started <= uses[0].startedAt)
        for use in uses {
            let end = try #require(use.endedAt)
            #expect(use.startedAt <= end && end <= provenance.cutAt)
        }
        #expect(provenance.node.cluster == "test" && provenance.node.node == "a" && provenance.changedBytes > 0)

        // A generation without a pod, and one whose pod changed nothing is none.
        let again = try await node.publish(volume)
        try write("more", again)
        try await node.unpublish(volume)
        let second = try await newest(volume, harness)
        #expect(second.number == 2 && second.provenance.uses == nil && second.provenance.startedAt != nil)
        #expect(
            second.parent
                == (try await harness.catalog.provenHistory(
                    of: harness.catalog.volume(volume.volume).head, limit: 2))[1].reference)
        #expect(try await harness.catalog.checkHistory(of: harness.catalog.volume(volume.volume).head).isSound)
        let files = try FileManager.default.contentsOfDirectory(atPath: harness.directory + "a/state/uses")
        #expect(files.isEmpty)
    }

    @Test func cutsUnderAPodTellOfItEachTimeUntilItEnds() async throws {
        try await Scratch.with { scratch in
            let harness = try await NodeHarness()
            let volume = try await harness.volume("cut")
            let xfs = try scratch.makeFileSystem("xfs", "xfs", size: 1 << 30)
            let node = try await harness.node("a", pool: xfs.appending("pool"))
            let path = try await node.publish(volume, pod: "p", context: context("long", labels: ["run": "1"]))
            try await node.publish(volume, pod: "q", context: context("short"))
            let actor = await node.plugin.volumes.actor(for: volume.volume)
            try write("one", path)
            try await node.unpublish(volume, pod: "q")
            try await actor.checkpoint(until: .now + .seconds(60))
            let first = try await newest(volume, harness).provenance
            #expect(first.uses?.map(\.pod?.name) == ["long", "short"])
            #expect(first.uses?.map { $0.endedAt == nil } == [true, false])

            // A snapshot's cut.
            try write("two", path)
            let snapshot = try await harness.catalog.createSnapshot(name: "s", of: volume.volume)
            try await node.plugin.deliver(snapshot.snapshot, until: .now + .seconds(60))
            try write("three", path)
            try await node.unpublish(volume, pod: "p")
            let last = try await newest(volume, harness).provenance
            let pinned = try #require(try await harness.catalog.snapshot(snapshot.snapshot).generation)
            let middle = try await harness.catalog.generation(pinned).provenance
            #expect(middle.uses?.map(\.pod?.name) == ["long"] && middle.uses?[0].endedAt == nil)
            #expect(middle.startedAt == first.cutAt && last.startedAt == middle.cutAt)
            #expect(last.uses?.count == 1 && last.uses?[0].endedAt != nil)
            #expect(last.uses?[0].startedAt == first.uses?[0].startedAt)
        }
    }

    @Test func aFencedNodesBranchTellsItToo() async throws {
        let harness = try await NodeHarness()
        let volume = try await harness.volume("fenced")
        let node = try await harness.node("a")
        let path = try await node.publish(volume, pod: "p", context: context("lost", labels: ["run": "3"]))
        try write("data", path)
        _ = try await harness.catalog.updateHead(volume.volume) { $0.revoking(now: harness.catalog.time) }
        // What the node knows of the head may be old: the commit tells.
        _ = try? await node.unpublish(volume, pod: "p")
        let incarnation = volume.incarnation
        var branches: [GenerationRecord] = []
        for _ in 0..<100 where branches.isEmpty {
            branches = try await harness.catalog.branches(of: volume.volume, incarnation)
            try await Task.sleep(for: .milliseconds(100))
        }
        #expect(branches.first?.provenance.uses?.map(\.pod?.name) == ["lost"])
        #expect(branches.first?.provenance.uses?.first?.labels == ["run": "3"])
    }

    @Test func aContextThatNoRequestMayHaveIsRefused() async throws {
        let harness = try await NodeHarness()
        let volume = try await harness.volume("refused")
        let node = try await harness.node("a")
        for bad in [["key": "bell\u{7}"], ["key": String(repeating: "x", count: 4097)]] {
            let error = await #expect(throws: PerSSDError.self) { try await node.publish(volume, context: bad) }
            #expect(error?.code == .invalidArgument && error?.message.contains("volume_context") == true)
        }
    }
}
