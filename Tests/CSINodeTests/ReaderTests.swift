import CSI
import DeviceTestSupport
import Errors
import Foundation
import LocalVolumes
import Persistence
import TestSupport
import Testing

@testable import CSINode

extension TestNode {
    /// Publishes a volume as one that many nodes read.
    @discardableResult
    func read(
        _ volume: VolumeRecord, pod: String = "reader", fileSystem: String? = "ext4", generation: UInt64? = nil
    ) async throws -> String {
        let target = "\(pods)/\(pod)"
        var capability = capability(fileSystem)
        capability.accessMode = VolumeCapability.AccessMode(mode: .multiNodeReaderOnly)
        var context: [String: String] = [:]
        if let generation { context[Driver.PublishContextKey.generation] = "\(generation)" }
        _ = try await plugin.nodePublishVolume(
            NodePublishVolumeRequest(
                volumeID: volume.volume.rawValue, publishContext: context, targetPath: target,
                volumeCapability: capability), context: self.context())
        return target
    }

    func unread(_ volume: VolumeRecord) async throws { try await unpublish(volume, pod: "reader") }

    /// Publishes a volume, writes a file, and makes that a generation.
    func write(_ text: String, to volume: VolumeRecord, fileSystem: String = "ext4") async throws {
        let path = try await publish(volume, fileSystem: fileSystem)
        try Data(text.utf8).write(to: URL(fileURLWithPath: path + "/file"))
        try await unpublish(volume)
    }
}

/// Volumes that many nodes read, each from a local copy of its own.
@Suite(.serialized) struct ReaderTests {
    private func text(_ path: String) -> String? {
        FileManager.default.contents(atPath: path + "/file").map { String(decoding: $0, as: UTF8.self) }
    }

    private func expectReadOnly(_ path: String) {
        let descriptor = open(path + "/new", O_WRONLY | O_CREAT, 0o600)
        #expect(descriptor == -1 && errno == EROFS)
    }

    @Test func nodesReadOneGenerationWhateverIsWrittenAndCollectedMeanwhile() async throws {
        let harness = try await NodeHarness()
        let volume = try await harness.volume("read by many", parameters: ["retention": "last=1"])
        let writer = try await harness.node("writer")
        let readers = [try await harness.node("a"), try await harness.node("b")]
        try await writer.write("one", to: volume)
        for reader in readers { try await reader.read(volume) }
        try await writer.write("two", to: volume)
        try await writer.write("three", to: volume)
        let collection = GarbageCollection(catalog: harness.catalog, options: .init(grace: .zero))
        for _ in 0..<3 { #expect(try await collection.run().failures.isEmpty) }
        for reader in readers {
            #expect(text("\(reader.pods)/reader") == "one")
            // A second pod joins; its bytes come from the same copy.
            let second = try await reader.read(volume, pod: "second")
            #expect(text(second) == "one")
            expectReadOnly(second)
            try await reader.unpublish(volume, pod: "second")
        }
        // A node that has lost its copy gets the same generation once more.
        let lost = readers[0]
        try await lost.unread(volume)
        #expect(try await harness.catalog.readers(of: volume.volume).map(\.node.node) == ["b"])
        // Nobody else attached it, so from here on it reads what is newest.
        #expect(text(try await lost.read(volume)) == "three")
        for reader in readers { try await reader.unread(volume) }
        #expect(try await harness.catalog.readers(of: volume.volume).isEmpty)
        for _ in 0..<3 { #expect(try await collection.run().failures.isEmpty) }
        let head = try await harness.catalog.head(volume.volume).value
        #expect(try await harness.catalog.history(of: head, limit: 3).map(\.number) == [3])
    }

    @Test func whatTheControllerSaysIsWhatANodeReads() async throws {
        let harness = try await NodeHarness()
        let volume = try await harness.volume("attached")
        let node = try await harness.node("a")
        try await node.write("one", to: volume)
        let listing = try await harness.catalog.volume(volume.volume)
        let publication = Lease.Publication(accessMode: "MULTI_NODE_READER_ONLY", accessType: "mount", readOnly: true)
        let reference = node.plugin.node
        #expect(
            try await harness.catalog.beginReading(listing, by: reference, as: publication).generation.number == 1)
        try await node.write("two", to: volume)
        // Its own copy is newer by now: only what differs is fetched, and the node reads what it was told to.
        #expect(text(try await node.read(volume, generation: 1)) == "one")
        try await node.unread(volume)
        #expect(try await harness.catalog.readers(of: volume.volume).count == 1)
        try await harness.catalog.removeReaders(reference, of: volume.volume)
        let error = await #expect(throws: PerSSDError.self) { try await node.read(volume, generation: 1) }
        #expect(error?.code == .failedPrecondition && error?.description.contains("taken back") == true)
        // And whoever writes finds the newest.
        let path = try await node.publish(volume)
        #expect(text(path) == "two")
        let refusal = await #expect(throws: PerSSDError.self) { try await node.read(volume) }
        #expect(refusal?.code == .failedPrecondition)
        try await node.unpublish(volume)
    }

    @Test func aCopyIsKeptForReadersAndGivesWayWhenTheyHaveGone() async throws {
        let harness = try await NodeHarness()
        let volume = try await harness.volume("kept")
        let other = try await harness.volume("other")
        let node = try await harness.node("a", poolSize: 100 << 20)
        try await node.write("kept", to: volume)
        try await node.read(volume)
        let full = await #expect(throws: PerSSDError.self) { try await node.publish(other, pod: "other") }
        #expect(full?.code == .resourceExhausted)
        let refusal = await #expect(throws: PerSSDError.self) { try await node.publish(volume, pod: "writer") }
        #expect(refusal?.code == .failedPrecondition && refusal?.description.contains("many nodes") == true)
        try await node.unread(volume)
        try await node.publish(other, pod: "other")
        try await node.unpublish(other, pod: "other")
    }

    @Test func aRawDeviceIsReadAndNotWritten() async throws {
        let harness = try await NodeHarness()
        let volume = try await harness.volume("raw")
        let a = try await harness.node("a")
        let b = try await harness.node("b")
        let contents = [UInt8](repeating: 0x5A, count: 1 << 20)
        let target = try await a.publish(volume, fileSystem: nil)
        let file = try FileHandle(forWritingTo: URL(fileURLWithPath: target))
        try file.write(contentsOf: contents)
        try file.close()
        try await a.unpublish(volume)
        for node in [a, b] {
            let path = try await node.read(volume, fileSystem: nil)
            let device = try FileHandle(forReadingFrom: URL(fileURLWithPath: path))
            #expect(try device.read(upToCount: contents.count) == Data(contents))
            try device.close()
            #expect(throws: (any Error).self) {
                let device = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
                defer { try? device.close() }
                try device.write(contentsOf: [0])
                try device.synchronize()
            }
            try await node.unread(volume)
        }
        // It can be written again afterwards.
        let again = try await a.publish(volume, fileSystem: nil)
        let device = try FileHandle(forWritingTo: URL(fileURLWithPath: again))
        try device.write(contentsOf: [1])
        try device.close()
        try await a.unpublish(volume)
    }

    /// A raw device is cut as a loss of power would leave it; so a file system that a pod has put on one has a journal that
    /// wants to be replayed.
    @Test(arguments: ["ext4", "xfs", "btrfs"])
    func aJournalIsReplayedAndWhatIsLeftIsNoGenerationAnyMore(fileSystem: String) async throws {
        try await Scratch.with { scratch in
            let harness = try await NodeHarness()
            let volume = try await harness.volume("torn", bytes: 320 << 20)
            let xfs = try scratch.makeFileSystem("xfs", "xfs", size: 2 << 30)
            let node = try await harness.node("a", pool: xfs.appending("pool"))
            let device = try await node.publish(volume, fileSystem: nil)
            try run("/usr/sbin/mkfs.\(fileSystem)", "-q", device)
            let place = harness.directory + "place"
            try FileManager.default.createDirectory(atPath: place, withIntermediateDirectories: true)
            try run("/usr/bin/mount", "-t", fileSystem, device, place)
            // The second time, where the test went well, there is nothing any more.
            defer { umount(place) }
            try run("/usr/bin/dd", "if=/dev/zero", "of=\(place)/other", "bs=4096", "count=1", "conv=fsync")
            try Data("replayed".utf8).write(to: URL(fileURLWithPath: place + "/source"))
            try run("/usr/bin/dd", "if=\(place)/source", "of=\(place)/file", "conv=fsync")
            let snapshot = try await harness.catalog.createSnapshot(name: fileSystem, of: volume.volume)
            try await node.plugin.deliver(snapshot.snapshot, until: .now + .seconds(60))
            while try await !harness.catalog.snapshot(snapshot.snapshot).isReady {
                try await Task.sleep(for: .milliseconds(50))
            }
            let clone = try await harness.catalog.createVolume(
                NewVolume(
                    name: "clone", requiredBytes: 0, limitBytes: 0, parameters: volume.parameters, claim: nil,
                    source: .snapshot(snapshot.snapshot)))
            let reader = try await harness.node("b")
            let unwritten = try await harness.node("c")
            for _ in 0..<2 {
                let path = try await reader.read(clone, fileSystem: fileSystem)
                #expect(text(path) == "replayed")
                expectReadOnly(path)
                #expect(try record(of: clone, on: reader)?.state == .recovered)
                try await reader.unread(clone)
                #expect(try record(of: clone, on: reader) == nil)
            }
            // The same holds for one node that only reads, and that may write later on.
            let path = try await unwritten.publish(clone, fileSystem: fileSystem, readOnly: true)
            #expect(text(path) == "replayed")
            #expect(try record(of: clone, on: unwritten)?.state == .recovered)
            let second = try await unwritten.publish(clone, pod: "writer", fileSystem: fileSystem)
            try Data("written".utf8).write(to: URL(fileURLWithPath: second + "/file"))
            for pod in ["pod", "writer"] { try await unwritten.unpublish(clone, pod: pod) }
            let after = try await reader.read(clone, fileSystem: fileSystem)
            #expect(text(after) == "written")
            // Unmounted before it was staged out, it needed nothing.
            #expect(try record(of: clone, on: reader)?.state == .clean)
            try await reader.unread(clone)
            #expect(try record(of: clone, on: reader)?.use == .volume)
            #expect(umount(place) == 0)
            try await node.unpublish(volume)
        }
    }

    /// The record beside the image, as it is on disk.
    private func record(of volume: VolumeRecord, on node: TestNode) throws -> CopyRecord? {
        struct Stored: Decodable { var copy: CopyRecord }
        let place = "\(node.pods)/../pool-default/volumes/\(volume.volume)/record.json"
        return try FileManager.default.contents(atPath: place).map {
            try JSONDecoder().decode(Stored.self, from: $0).copy
        }
    }

    private func run(_ program: String, _ arguments: String...) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = arguments
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        try #require(process.terminationStatus == 0, "\(program) \(arguments)")
    }
}
