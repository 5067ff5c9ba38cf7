import DeviceTestSupport
import Foundation
import SystemPackage
import Testing

/// The program that tries pools of logical volumes in virtual machines, on pools of images here.
@Suite(.serialized) struct PoolConformanceTests {
    @Test(arguments: PoolPlace.allCases) func aPoolOfImagesConforms(_ place: PoolPlace) async throws {
        try await Scratch.with { scratch in
            let directory = try place.makeDirectory(in: scratch)
            let program = URL(
                fileURLWithPath: try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
            )
            .deletingLastPathComponent().appendingPathComponent("pool-conformance").path
            #expect(
                try scratch.run(program, ["sequence", "--directory", directory.string]).contains("sequence passed"))
            let kills = ["kills", "--directory", directory.string, "--rounds", "8", "--longest", "300"]
            #expect(try scratch.run(program, kills).contains("kills passed"))
        }
    }
}
