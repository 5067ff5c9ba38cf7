import DeviceTestSupport
import Errors
import Foundation
import LinuxSystem
import Persistence
import SystemPackage
import Testing

@testable import CSINode

/// Generations of volumes that pods go on writing.
@Suite(.serialized) struct CheckpointTests {
    @Test(arguments: ["ext4", "xfs", "btrfs"])
    func whatWasWrittenBeforeACheckpointIsInItsGeneration(fileSystem: String) async throws {
        try await Scratch.with { scratch in
            let harness = try await NodeHarness()
            let volume = try await harness.volume("checkpoint", bytes: 320 << 20)
            let xfs = try scratch.makeFileSystem("xfs", "xfs", size: 1 << 30)
            let node = try await harness.node("a", pool: xfs.appending("pool"))
            let path = try await node.publish(volume, fileSystem: fileSystem)
            let actor = await node.plugin.volumes.actor(for: volume.volume)
            var generations: [GenerationReference] = []
            for round in 1...3 {
                try Data("round \(round)".utf8).write(to: URL(fileURLWithPath: path + "/file-\(round)"))
                try await actor.checkpoint(until: .now + .seconds(60))
                let head = try await harness.catalog.volume(volume.volume).head
                #expect(head.newest?.number == UInt64(round) && head.lease?.state == .open)
                generations.append(try #require(head.newest))
            }
            try await node.unpublish(volume, pod: "pod")

            for (index, reference) in generations.enumerated() {
                let image = scratch.appending("image-\(index)")
                let record = try await harness.catalog.generation(reference)
                try await restore(record, to: image, from: harness.catalog)
                let device = try LoopDevice.attach(image)
                let place = scratch.appending("mounted-\(index)")
                try DurableFile.makeDirectory(place)
                var options = MountOptions()
                options.isReadOnly = true
                if fileSystem == "xfs" { try options.add("nouuid") }
                try Mount.fileSystem(
                    fileSystem, device: device.path, at: OpenFile(place: place, mustBeDirectory: true),
                    options: options)
                let files = try FileManager.default.contentsOfDirectory(atPath: place.string).filter {
                    $0.hasPrefix("file-")
                }
                #expect(Set(files) == Set((1...index + 1).map { "file-\($0)" }))
                for round in 1...index + 1 {
                    #expect(
                        try Data(contentsOf: URL(fileURLWithPath: place.string + "/file-\(round)"))
                            == Data("round \(round)".utf8))
                }
                try Mount.unmount(place)
                try device.detach()
            }
        }
    }

    @Test func checkpointsAreMadeAtIntervalsWhileThereIsSomethingToKeep() async throws {
        try await Scratch.with { scratch in
            let harness = try await NodeHarness()
            let volume = try await harness.volume("interval", parameters: ["checkpointInterval": "10s"])
            let xfs = try scratch.makeFileSystem("xfs", "xfs", size: 1 << 30)
            let node = try await harness.node("a", pool: xfs.appending("pool"))
            let path = try await node.publish(volume)
            func newest() async throws -> UInt64 {
                try await harness.catalog.volume(volume.volume).head.newest?.number ?? 0
            }
            /// Looks as often as the plugin does, for longer than the interval.
            func look(until number: UInt64?) async throws {
                let end = ContinuousClock.now + .seconds(13)
                while ContinuousClock.now < end {
                    if let number, try await newest() >= number { return }
                    await node.plugin.checkpoints.look()
                    try await Task.sleep(for: .milliseconds(200))
                }
            }
            try Data("first".utf8).write(to: URL(fileURLWithPath: path + "/first"))
            try await look(until: 1)
            #expect(try await newest() == 1)
            // The pod writes nothing: nothing is made.
            try await look(until: nil)
            #expect(try await newest() == 1)
            try Data("second".utf8).write(to: URL(fileURLWithPath: path + "/second"))
            try await look(until: 2)
            #expect(try await newest() == 2)
            try await node.unpublish(volume)
        }
    }

    @Test func aPoolThatSharesNoBlocksRefusesToCutUnderAPod() async throws {
        let harness = try await NodeHarness()
        let volume = try await harness.volume("no-reflink")
        let node = try await harness.node("a")
        let path = try await node.publish(volume)
        let actor = await node.plugin.volumes.actor(for: volume.volume)
        let error = await #expect(throws: PerSSDError.self) { try await actor.checkpoint(until: .now + .seconds(60)) }
        #expect(error?.code == .failedPrecondition)
        try Data("still written".utf8).write(to: URL(fileURLWithPath: path + "/file"))
        try await node.unpublish(volume)
        // Not published, it is what an unpublish does.
        try await actor.checkpoint(until: .now + .seconds(60))
        #expect(try await harness.catalog.volume(volume.volume).head.newest?.number == 1)
    }

    private func restore(_ record: GenerationRecord, to path: FilePath, from catalog: Catalog) async throws {
        do {
            let file = try OpenFile(path, O_RDWR | O_CREAT)
            try file.truncate(toBytes: record.map.capacityBytes)
        }
        let restore = Restore(store: catalog.store, lineage: record.lineage)
        _ = try await restore.run(record.map, to: FileBlockSink(path: path), have: .zeros)
    }
}
