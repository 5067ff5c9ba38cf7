import DeviceTestSupport
import Errors
import Foundation
import Persistence
import Testing

@testable import CSINode

@Suite(.serialized) struct CloneTests {
    /// The kernel of today tells two btrfs of one UUID apart, and that of a year ago does not: what is looked at is the UUID.
    @Test(arguments: ["ext4", "xfs", "btrfs"])
    func aVolumeAndItsClonesAreUsedOnOneNode(fileSystem: String) async throws {
        let harness = try await NodeHarness()
        let node = try await harness.node("a")
        let original = try await harness.volume("original", bytes: 320 << 20)
        let path = try await node.publish(original, fileSystem: fileSystem)
        try Data("shared".utf8).write(to: URL(fileURLWithPath: path + "/file"))
        try await node.unpublish(original)
        var clones: [VolumeRecord] = []
        for index in 0..<2 {
            clones.append(
                try await harness.catalog.createVolume(
                    NewVolume(
                        name: "clone-\(index)", requiredBytes: (index == 0 ? 320 : 640) << 20, limitBytes: 0,
                        parameters: original.parameters, claim: nil, source: .volume(original.volume))))
        }
        var paths: [String] = []
        for volume in [original] + clones {
            paths.append(try await node.publish(volume, pod: volume.name, fileSystem: fileSystem))
        }
        var identities: Set<String> = []
        for (index, path) in paths.enumerated() {
            #expect(FileManager.default.contents(atPath: path + "/file") == Data("shared".utf8))
            try Data("\(index)".utf8).write(to: URL(fileURLWithPath: path + "/own"))
            identities.insert(try identity(of: path))
        }
        if fileSystem == "btrfs" { #expect(identities.count == 3) }
        // The larger one has grown.
        let sizes = try paths.map { path -> Int in
            try #require(
                try FileManager.default.attributesOfFileSystem(forPath: path)[.systemSize] as? Int)
        }
        #expect(sizes[2] > sizes[1] + 200 << 20)
        for volume in [original] + clones { try await node.unpublish(volume, pod: volume.name) }
        let other = try await harness.node("b")
        for (index, volume) in ([original] + clones).enumerated() {
            let path = try await other.publish(volume, pod: volume.name, fileSystem: fileSystem)
            #expect(FileManager.default.contents(atPath: path + "/own") == Data("\(index)".utf8))
            try await other.unpublish(volume, pod: volume.name)
        }
    }

    /// The UUID that is on the device mounted at a path.
    private func identity(of path: String) throws -> String {
        let device = try output("/usr/bin/findmnt", "--noheadings", "--output", "SOURCE", "--target", path)
        return try output("/usr/sbin/blkid", "-p", "-o", "value", "-s", "UUID", device)
    }

    private func output(_ program: String, _ arguments: String...) throws -> String {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = arguments
        let pipe = Pipe()
        process.standardOutput = pipe
        try process.run()
        let bytes = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        try #require(process.terminationStatus == 0)
        return String(decoding: bytes, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
    }
}
