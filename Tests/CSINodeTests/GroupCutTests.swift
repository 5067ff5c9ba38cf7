import DeviceTestSupport
import Errors
import Foundation
import LinuxSystem
import LocalVolumes
import Persistence
import Synchronization
import SystemPackage
import Testing

@testable import CSINode

/// A node's part in group snapshots, with volumes that somebody writes.
@Suite(.serialized) struct GroupCutTests {
    /// Volumes of a node whose pool shares blocks, and a try to make a group of them.
    private struct Fixture {
        var harness: NodeHarness
        var node: TestNode
        var volumes: [VolumeRecord]
        var paths: [String]

        func begin(_ name: String = "group") async throws -> GroupCut {
            try #require(
                try await harness.catalog.beginGroup(name: name, of: Set(volumes.map(\.volume))).begun)
        }

        func take(_ step: GroupCutStep, _ group: GroupCut, seconds: Int = 30) async throws {
            try await node.plugin.cutGroup(
                step, of: group.record.group, group.record.incarnation, until: .now + .seconds(seconds))
        }

        func failure(_ step: GroupCutStep, _ group: GroupCut, seconds: Int = 30) async -> PerSSDError? {
            do {
                try await take(step, group, seconds: seconds)
                return nil
            } catch { return PerSSDError(wrapping: error) }
        }

        func close() async throws {
            for volume in volumes { try await node.unpublish(volume, pod: volume.name) }
        }
    }

    private func with(
        _ fileSystems: [String?], wrapping: (ImagePool) -> any VolumePool = { $0 },
        _ body: (Fixture) async throws -> Void
    ) async throws {
        try await Scratch.with { scratch in
            let harness = try await NodeHarness()
            let xfs = try scratch.makeFileSystem("xfs", "xfs", size: 1 << 30)
            let node = try await harness.node("a", pool: xfs.appending("pool"), wrapping: wrapping)
            var fixture = Fixture(harness: harness, node: node, volumes: [], paths: [])
            for (index, fileSystem) in fileSystems.enumerated() {
                let volume = try await harness.volume("pvc-\(index)")
                fixture.volumes.append(volume)
                fixture.paths.append(try await node.publish(volume, pod: volume.name, fileSystem: fileSystem))
            }
            try await body(fixture)
            try await fixture.close()
        }
    }

    /// Writes a file in a thread of its own, as a frozen file system holds whoever writes.
    private func write(_ path: String) -> Flag {
        let done = Flag()
        Thread.detachNewThread {
            try? Data("x".utf8).write(to: URL(fileURLWithPath: path))
            done.set()
        }
        return done
    }

    private func becomes(_ done: Flag, within seconds: Double) async throws -> Bool {
        let end = ContinuousClock.now + .seconds(seconds)
        while !done.isSet, .now < end { try await Task.sleep(for: .milliseconds(10)) }
        return done.isSet
    }

    @Test func allStandStillFromTheHoldToTheRelease() async throws {
        try await with(["ext4", "ext4"]) { fixture in
            for path in fixture.paths { try Data("before".utf8).write(to: URL(fileURLWithPath: path + "/before")) }
            let group = try await fixture.begin()
            #expect(group.record.members.allSatisfy { $0.node?.node == "a" })
            try await fixture.take(.prepare, group)
            try await fixture.take(.hold, group)
            let writers = fixture.paths.map { write($0 + "/during") }
            try await Task.sleep(for: .seconds(1))
            #expect(writers.allSatisfy { !$0.isSet })
            try await fixture.take(.release, group)
            for writer in writers { #expect(try await becomes(writer, within: 20)) }
            let made = try await fixture.harness.catalog.completeGroup(group, cutAt: Date())
            for _ in 0..<600 {
                if try await fixture.harness.catalog.members(of: made).allSatisfy(\.isReady) { break }
                try await Task.sleep(for: .milliseconds(50))
            }
            try await fixture.take(.confirm, group)
            let members = try await fixture.harness.catalog.members(of: made)
            #expect(members.allSatisfy { $0.generation?.number == 1 })
        }
    }

    @Test func whatIsAbandonedGoesOnAndIsForgotten() async throws {
        try await with(["ext4", "ext4"]) { fixture in
            let group = try await fixture.begin()
            try await fixture.take(.prepare, group)
            try await fixture.take(.hold, group)
            let writer = write(fixture.paths[0] + "/during")
            try await fixture.take(.abandon, group)
            #expect(try await becomes(writer, within: 20))
            try await fixture.harness.catalog.abandonGroup(group)
            #expect(await fixture.failure(.release, group)?.code == .aborted)
            #expect(await fixture.failure(.hold, group)?.code == .aborted)
            for volume in fixture.volumes {
                #expect(try await fixture.harness.catalog.volume(volume.volume).head.newest == nil)
            }
        }
    }

    @Test func whatWentOnBeforeItsTimeIsNoCut() async throws {
        try await with(["ext4", "ext4"]) { fixture in
            let group = try await fixture.begin()
            try await fixture.take(.prepare, group)
            try await fixture.take(.hold, group)
            // As the guard does that stands by, or an operator.
            let thaw = Process()
            thaw.executableURL = URL(fileURLWithPath: "/usr/sbin/fsfreeze")
            thaw.arguments = ["--unfreeze", fixture.paths[1]]
            try thaw.run()
            thaw.waitUntilExit()
            #expect(thaw.terminationStatus == 0)
            let error = await fixture.failure(.release, group)
            #expect(error?.code == .aborted)
            #expect(error?.description.contains("thawed before its time") == true, "\(String(describing: error))")
            try await fixture.harness.catalog.abandonGroup(group)
        }
    }

    @Test func whatNobodyConcludesIsGivenUp() async throws {
        try await with(["ext4", "ext4"]) { fixture in
            let group = try await fixture.begin()
            try await fixture.take(.prepare, group)
            try await fixture.take(.hold, group)
            let writer = write(fixture.paths[0] + "/during")
            #expect(try await becomes(writer, within: 20))
            let error = await fixture.failure(.release, group)
            #expect(error?.code == .aborted, "\(String(describing: error))")
            try await fixture.harness.catalog.abandonGroup(group)
            // And the next try is not in its way.
            let next = try await fixture.begin()
            for step in [GroupCutStep.prepare, .hold, .release] { try await fixture.take(step, next) }
            _ = try await fixture.harness.catalog.completeGroup(next, cutAt: Date())
        }
    }

    @Test func whatCannotBeHeldIsRefused() async throws {
        try await with(["ext4", nil]) { fixture in
            let group = try await fixture.begin()
            for step in [GroupCutStep.prepare, .hold] {
                let error = await fixture.failure(step, group)
                #expect(error?.code == .failedPrecondition)
                #expect(error?.description.contains("raw block volume") == true, "\(String(describing: error))")
            }
            // The other one goes on.
            #expect(try await becomes(write(fixture.paths[0] + "/after"), within: 20))
            try await fixture.harness.catalog.abandonGroup(group)
            // Alone, there is nobody to wait for.
            let alone = try #require(
                try await fixture.harness.catalog.beginGroup(name: "alone", of: [fixture.volumes[1].volume]).begun)
            for step in [GroupCutStep.prepare, .hold, .release] { try await fixture.take(step, alone) }
            // A pod that has left since, or another lease, is not what was planned.
            let late = try await fixture.begin("late")
            try await fixture.node.unpublish(fixture.volumes[1], pod: fixture.volumes[1].name)
            #expect(await fixture.failure(.prepare, late)?.code == .aborted)
            #expect(await fixture.failure(.hold, late)?.code == .aborted)
            try await fixture.harness.catalog.abandonGroup(late)
        }
    }

    /// As a volume group does, where the kernel can freeze what is frozen.
    @Test func whatThePoolWouldFreezeForItsOwnCutOnlyIsFrozenForTheGroup() async throws {
        let calls = PoolCalls()
        try await with(["ext4", "ext4"], wrapping: { SelfFreezingPool($0, calls) }) { fixture in
            let group = try await fixture.begin()
            try await fixture.take(.prepare, group)
            #expect(calls.taken == ["prepare", "prepare"])
            try await fixture.take(.hold, group)
            #expect(calls.taken == ["cut of frozen", "cut of frozen"])
            let writers = fixture.paths.map { write($0 + "/during") }
            try await Task.sleep(for: .seconds(1))
            #expect(writers.allSatisfy { !$0.isSet })
            try await fixture.take(.release, group)
            for writer in writers { #expect(try await becomes(writer, within: 20)) }
            _ = try await fixture.harness.catalog.completeGroup(group, cutAt: Date())
            _ = calls.taken
            // With nobody to wait for, the pool is done sooner.
            let alone = try #require(
                try await fixture.harness.catalog.beginGroup(name: "alone", of: [fixture.volumes[0].volume]).begun)
            for step in [GroupCutStep.prepare, .hold, .release] { try await fixture.take(step, alone) }
            #expect(calls.taken == ["prepare", "cut"])
        }
    }

    @Test func whatThePoolCannotCutFrozenIsRefused() async throws {
        let why = PerSSDError(.failedPrecondition, "the kernel is too old")
        try await with(["ext4", "ext4"], wrapping: { SelfFreezingPool($0, PoolCalls(), refusal: why) }) { fixture in
            let group = try await fixture.begin()
            for step in [GroupCutStep.prepare, .hold] {
                let error = await fixture.failure(step, group)
                #expect(error?.code == .failedPrecondition)
                #expect(error?.description.contains("too old") == true, "\(String(describing: error))")
            }
            for path in fixture.paths { #expect(try await becomes(write(path + "/after"), within: 20)) }
            try await fixture.harness.catalog.abandonGroup(group)
        }
    }

    @Test func aCutThatIsLostIsSaid() async throws {
        try await with(["ext4"]) { fixture in
            // As after a restart of the plugin: the group is there, and nothing here knows of a cut.
            let made = try await fixture.harness.catalog.completeGroup(try await fixture.begin(), cutAt: Date())
            let error = await #expect(throws: PerSSDError.self) {
                try await fixture.node.plugin.cutGroup(
                    .confirm, of: made.group, made.incarnation, until: .now + .seconds(30))
            }
            #expect(error?.code == .failedPrecondition && error?.message.contains("is lost") == true)
        }
    }
}

/// Set once by a thread.
private final class Flag: Sendable {
    private let state = Mutex(false)
    var isSet: Bool { state.withLock { $0 } }
    func set() { state.withLock { $0 = true } }
}
