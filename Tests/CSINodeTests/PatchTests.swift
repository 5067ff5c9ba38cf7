import DeviceTestSupport
import Foundation
import LinuxSystem
import Persistence
import SystemPackage
import Testing

@testable import CSINode

/// What a node sends of a small change: the pages, not the blocks they are in.
@Suite(.serialized) struct PatchTests {
    private static let fileBytes = 24 << 20
    private static let pages = 24

    @Test func aChangeOfSomePagesIsSentAsPages() async throws {
        try await Scratch.with { scratch in
            let harness = try await NodeHarness()
            let volume = try await harness.volume("pages", bytes: 64 << 20)
            let xfs = try scratch.makeFileSystem("xfs", "xfs", size: 512 << 20)
            let node = try await harness.node("a", pool: xfs.appending("pool"))
            var random = SystemRandomNumberGenerator()
            var contents = Data(
                (0..<Self.fileBytes / 8).flatMap { _ in withUnsafeBytes(of: random.next(), Array.init) })
            try contents.write(to: URL(fileURLWithPath: try await node.publish(volume) + "/data"))
            try await node.unpublish(volume)

            // More often than patches may be chained.
            for round in 1...BlockEntry.maximumPatches + 2 {
                let path = FilePath(try await node.publish(volume) + "/data")
                do {
                    let file = try OpenFile(path, O_RDWR)
                    for page in 0..<Self.pages {
                        // Far apart: hardly two of them in one block.
                        let offset = page * (Self.fileBytes / Self.pages) + round * 4096
                        let bytes = (0..<4096 / 8).flatMap { _ in withUnsafeBytes(of: random.next(), Array.init) }
                        try bytes.withUnsafeBytes { try file.write(at: UInt64(offset), from: $0) }
                        contents.replaceSubrange(offset..<offset + 4096, with: bytes)
                    }
                }
                try await node.unpublish(volume)

                let newest = try #require(try await harness.catalog.volume(volume.volume).head.newest)
                let provenance = try await harness.catalog.generation(newest).provenance
                let changed = UInt64(Self.pages * 4096)
                // The extents that changed, in whole blocks; and some of the file system's own.
                #expect(provenance.readBytes < UInt64(Self.pages + 24) * 256 << 10)
                if round <= BlockEntry.maximumPatches {
                    #expect(provenance.sentBytes < changed * 3, "round \(round)")
                } else if round == BlockEntry.maximumPatches + 1 {
                    // The chain is full: whole blocks begin a new one.
                    #expect(provenance.sentBytes > UInt64(Self.pages) * 200 << 10)
                } else {
                    #expect(provenance.sentBytes < changed * 3, "round \(round)")
                }
            }

            let other = try await harness.node("b")
            let path = try await other.publish(volume)
            #expect(try Data(contentsOf: URL(fileURLWithPath: path + "/data")) == contents)
            try await other.unpublish(volume)
        }
    }
}
