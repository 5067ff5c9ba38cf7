import CSI
import Errors
import Foundation
import LinuxSystem
import Persistence
import SystemPackage
import Testing

@testable import CSINode

private let before: Int64 = 320 << 20
private let after: Int64 = 512 << 20

extension TestNode {
    func expand(
        _ volume: VolumeRecord, pod: String = "pod", required: Int64 = 0, limit: Int64 = 0
    ) async throws -> Int64 {
        try await plugin.nodeExpandVolume(
            NodeExpandVolumeRequest(
                volumeID: volume.volume.rawValue, volumePath: "\(pods)/\(pod)",
                capacityRange: required == 0 && limit == 0
                    ? nil : CapacityRange(requiredBytes: required, limitBytes: limit)),
            context: context()
        ).capacityBytes
    }

    /// What the pod's file system, or device, has in all.
    func total(_ volume: VolumeRecord, pod: String = "pod") async throws -> Int64 {
        let usage = try await plugin.nodeGetVolumeStats(
            NodeGetVolumeStatsRequest(volumeID: volume.volume.rawValue, volumePath: "\(pods)/\(pod)"),
            context: context()
        ).usage
        return try #require(usage.first { $0.unit == .bytes }).total
    }
}

extension NodeHarness {
    /// What the controller does.
    func expand(_ volume: VolumeRecord, to bytes: Int64 = after) async throws {
        _ = try await catalog.expandVolume(volume.volume, requiredBytes: bytes, limitBytes: 0)
    }
}

/// None of it zeros.
private let piece = (0..<1 << 20).map { UInt8(truncatingIfNeeded: $0 &* 37 ^ ($0 >> 9) | 1) }

private func write(_ mebibytes: Int, to path: String) throws {
    let file = try OpenFile(FilePath(path), O_RDWR | O_CREAT)
    for index in 0..<mebibytes { try piece.withUnsafeBytes { try file.write(at: UInt64(index) << 20, from: $0) } }
    try file.sync()
}

private func isAsWritten(_ mebibytes: Int, at path: String) throws -> Bool {
    let file = try OpenFile(FilePath(path), O_RDONLY)
    var bytes = [UInt8](repeating: 0, count: piece.count)
    for index in 0..<mebibytes {
        let count = try bytes.withUnsafeMutableBytes { try file.read(at: UInt64(index) << 20, into: $0) }
        if count != piece.count || bytes != piece { return false }
    }
    return try file.status().sizeBytes == UInt64(mebibytes) << 20
}

@Suite(.serialized) struct ExpansionTests {
    /// Whether this process may grow a mounted ext4: the kernel asks for CAP_SYS_RESOURCE, the 24th.
    private static var mayGrowMountedExt4: Bool {
        let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
        let line = status.split(separator: "\n").first { $0.hasPrefix("CapEff:") } ?? ""
        let bits = UInt64(line.dropFirst(7).trimmingCharacters(in: .whitespaces), radix: 16) ?? 0
        return bits & 1 << 24 != 0
    }

    @Test(arguments: ["xfs", "btrfs"])
    func growsUnderThePodAndMovesOn(_ fileSystem: String) async throws {
        let harness = try await NodeHarness()
        let volume = try await harness.volume("grown", bytes: before)
        let a = try await harness.node("a")
        let path = try await a.publish(volume, fileSystem: fileSystem)
        try Data("from before".utf8).write(to: URL(fileURLWithPath: "\(path)/small"))
        #expect(try await a.total(volume) <= before)
        // Before the controller has raised it there is nothing to do.
        #expect(try await a.expand(volume) == before)

        try await harness.expand(volume)
        #expect(try await a.expand(volume, required: after) == after)
        let total = try await a.total(volume)
        #expect(total > before && total <= after)
        try write(Int(before >> 20) + 20, to: "\(path)/large")
        #expect(try await a.expand(volume, required: after) == after)
        try await a.unpublish(volume)

        let b = try await harness.node("b")
        let onB = try await b.publish(volume, fileSystem: fileSystem)
        #expect(FileManager.default.contents(atPath: "\(onB)/small") == Data("from before".utf8))
        #expect(try await b.total(volume) == total)
        #expect(try isAsWritten(Int(before >> 20) + 20, at: "\(onB)/large"))
        try await b.unpublish(volume)
    }

    /// A mounted ext4 grows only with a capability that not every container has; unmounted it always does.
    @Test func ext4GrowsUnderThePodOrAtItsNextPublish() async throws {
        let harness = try await NodeHarness()
        let volume = try await harness.volume("grown", bytes: before)
        let a = try await harness.node("a")
        let path = try await a.publish(volume)
        try Data("kept".utf8).write(to: URL(fileURLWithPath: "\(path)/file"))
        let total = try await a.total(volume)
        try await harness.expand(volume)
        if Self.mayGrowMountedExt4 {
            #expect(try await a.expand(volume, required: after) == after)
            #expect(try await a.total(volume) > before)
        } else {
            let error = await #expect(throws: PerSSDError.self) { try await a.expand(volume, required: after) }
            #expect(error?.description.contains("resize2fs") == true)
            #expect(try await a.total(volume) == total)
        }
        try await a.unpublish(volume)
        let again = try await a.publish(volume)
        #expect(try await a.total(volume) > before)
        #expect(FileManager.default.contents(atPath: "\(again)/file") == Data("kept".utf8))
        try await a.unpublish(volume)
    }

    /// Its generation, and every local copy, is smaller than the volume is to be.
    @Test(arguments: ["ext4", "xfs", "btrfs"])
    func growsAtThePublishAfterAnExpansionThatNobodySaw(_ fileSystem: String) async throws {
        let harness = try await NodeHarness()
        let volume = try await harness.volume("unseen", bytes: before)
        let a = try await harness.node("a")
        let b = try await harness.node("b")
        let path = try await a.publish(volume, fileSystem: fileSystem)
        try write(3, to: "\(path)/one")
        try await a.unpublish(volume)
        try await harness.expand(volume)

        // A restore to a larger device, then a stage-out from it.
        let onB = try await b.publish(volume, fileSystem: fileSystem)
        let total = try await b.total(volume)
        #expect(total > before)
        #expect(try isAsWritten(3, at: "\(onB)/one"))
        try write(Int(before >> 20), to: "\(onB)/two")
        try await b.unpublish(volume)
        #expect(
            try await harness.catalog.history(of: harness.catalog.head(volume.volume).value, limit: 1).first?.map
                .capacityBytes == UInt64(after))

        // An older, smaller copy that is brought up to date.
        let onA = try await a.publish(volume, fileSystem: fileSystem)
        #expect(try await a.total(volume) == total)
        #expect(try isAsWritten(3, at: "\(onA)/one"))
        #expect(try isAsWritten(Int(before >> 20), at: "\(onA)/two"))
        try await a.unpublish(volume)
        // A copy that is as new as can be, and smaller than the volume.
        try await harness.expand(volume, to: 600 << 20)
        try await a.publish(volume, fileSystem: fileSystem)
        #expect(try await a.total(volume) > total)
        try await a.unpublish(volume)
    }

    @Test func aReaderChangesNothing() async throws {
        let harness = try await NodeHarness()
        let volume = try await harness.volume("read", bytes: before)
        let a = try await harness.node("a")
        try await a.publish(volume)
        try await a.unpublish(volume)
        try await harness.expand(volume)
        try await a.publish(volume, readOnly: true)
        #expect(try await a.total(volume) < before)
        let error = await #expect(throws: PerSSDError.self) { try await a.expand(volume, required: after) }
        #expect(error?.code == .failedPrecondition)
        try await a.unpublish(volume)
        #expect(try await harness.catalog.head(volume.volume).value.newest?.number == 1)
    }

    @Test func aRawDeviceGrows() async throws {
        let harness = try await NodeHarness()
        let volume = try await harness.volume("raw", bytes: 64 << 20)
        let a = try await harness.node("a")
        let path = try await a.publish(volume, fileSystem: nil)
        try await harness.expand(volume, to: 128 << 20)
        #expect(try await a.expand(volume) == 128 << 20)
        #expect(try await a.total(volume) == 128 << 20)
        #expect(try BlockDevice.sizeBytes(FilePath(path)) == 128 << 20)
        do {
            let device = try OpenFile(FilePath(path), O_RDWR)
            try [UInt8](repeating: 7, count: 4096).withUnsafeBytes { try device.write(at: 127 << 20, from: $0) }
            try device.sync()
        }
        try await a.unpublish(volume)
        let b = try await harness.node("b")
        let onB = try await b.publish(volume, fileSystem: nil)
        var bytes = [UInt8](repeating: 0, count: 4096)
        do {
            let restored = try OpenFile(FilePath(onB), O_RDONLY)
            #expect(try bytes.withUnsafeMutableBytes { try restored.read(at: 127 << 20, into: $0) } == 4096)
        }
        #expect(bytes.allSatisfy { $0 == 7 })
        try await b.unpublish(volume)
    }

    @Test func onlyWhatFitsAndNeverSmaller() async throws {
        let harness = try await NodeHarness()
        let a = try await harness.node("a", poolSize: 200 << 20)
        let idle = try await harness.volume("idle")
        try await a.publish(idle, pod: "idle")
        try await a.unpublish(idle, pod: "idle")
        let volume = try await harness.volume("grown")
        try await a.publish(volume, fileSystem: nil)
        func code(required: Int64 = 0, limit: Int64 = 0) async -> PerSSDError.Code? {
            do {
                _ = try await a.expand(volume, required: required, limit: limit)
                return nil
            } catch {
                return (error as? PerSSDError)?.code
            }
        }
        #expect(await code(limit: 60 << 20) == .outOfRange)
        #expect(await code(required: 100 << 20, limit: 90 << 20) == .outOfRange)
        #expect(await code(required: 1 << 60) == .outOfRange)
        #expect(await code(required: -1) == .invalidArgument)
        // More than the pool has, whatever is evicted: nothing changes, in the bucket neither.
        #expect(await code(required: 300 << 20) == .resourceExhausted)
        #expect(try await harness.catalog.volume(volume.volume).record.capacityBytes == 64 << 20)
        #expect(try await a.total(volume) == 64 << 20)
        // Asked for less than it has, it stays.
        #expect(try await a.expand(volume, required: 1 << 20) == 64 << 20)
        // An orchestrator that asks the node only; there is room once the other volume's clean copy is gone.
        #expect(try await a.expand(volume, required: 160 << 20) == 160 << 20)
        #expect(try await harness.catalog.volume(volume.volume).record.capacityBytes == 160 << 20)
        try await a.unpublish(volume)
    }

    @Test func whatIsNotPublishedThereIsNotFound() async throws {
        let harness = try await NodeHarness()
        let volume = try await harness.volume("elsewhere")
        let a = try await harness.node("a")
        let unknown = await #expect(throws: PerSSDError.self) { try await a.expand(volume, required: after) }
        #expect(unknown?.code == .notFound)
        try await a.publish(volume)
        let wrong = await #expect(throws: PerSSDError.self) { try await a.expand(volume, pod: "other") }
        #expect(wrong?.code == .notFound)
        try await a.unpublish(volume)
    }
}
