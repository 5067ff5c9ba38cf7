import DeviceTestSupport
import Errors
import Testing

@testable import LocalVolumes

@Suite struct ThinPoolPlanTests {
    private static let gibibyte: UInt64 = 1 << 30

    private func plan(
        _ layout: LVMPool.Layout, _ drives: [UInt64], stripes: Int? = nil, chunk: UInt64? = nil
    ) throws -> ThinPoolPlan {
        try ThinPoolPlan(layout: layout, stripes: stripes, chunkBytes: chunk, extentBytes: 4 << 20, drives: drives)
    }

    @Test func aLinearPoolTakesAllDrives() throws {
        let plan = try plan(.linear, [100 << 30, 200 << 30])
        #expect(plan.chunkBytes == 64 << 10)
        // 300 GiB are 4915200 chunks, of 128 bytes each.
        #expect(plan.metadataBytes == 600 << 20)
        #expect(plan.dataBytes == (300 << 30) - 3 * (600 << 20) - (8 << 20))
        #expect(
            plan.commands(group: "g").map { ([$0.command] + $0.arguments).joined(separator: " ") } == [
                "lvcreate --yes --type thin-pool --size \(plan.dataBytes)b --poolmetadatasize 629145600b --chunksize 65536b "
                    + "--zero y --discards passdown --addtag perssd --addtag perssd.kind=pool --name perssd g",
                "lvchange --errorwhenfull y g/perssd",
            ])
    }

    @Test func aStripedPoolIsAsLargeAsTheSmallestDriveAllows() throws {
        let plan = try plan(.striped, [100 << 30, 50 << 30, 200 << 30])
        #expect(plan.layout == .striped(3))
        #expect(plan.dataBytes <= 150 << 30 && plan.dataBytes > 147 << 30)
        #expect(plan.dataBytes % (3 * plan.extentBytes) == 0)
        let arguments = plan.commands(group: "g")[0].arguments.joined(separator: " ")
        #expect(arguments.contains("--stripes 3 --stripesize 65536b"))
        #expect(try self.plan(.striped, [1 << 36, 1 << 36, 1 << 36], stripes: 2).layout == .striped(2))
    }

    @Test func aMirroredPoolMirrorsDataAndMetadata() throws {
        let plan = try plan(.raid1, [100 << 30, 200 << 30])
        #expect(plan.dataBytes < 100 << 30 && plan.dataBytes > 99 << 30)
        let commands = plan.commands(group: "g")
        #expect(commands.map(\.command) == ["lvcreate", "lvcreate", "lvconvert", "lvchange", "lvchange"])
        #expect(commands[0].arguments.contains("raid1") && commands[1].arguments.contains("raid1"))
        #expect(commands[1].arguments.contains("perssd_metadata"))
        #expect(!commands.prefix(3).contains { $0.arguments.contains("--addtag") })
        #expect(commands[3].arguments == ["--addtag", "perssd", "--addtag", "perssd.kind=pool", "g/perssd"])
    }

    @Test(
        arguments: [
            (LVMPool.Layout.striped, [UInt64(1) << 40], nil, nil), (.striped, [1 << 40, 1 << 40], 3, nil),
            (.raid1, [1 << 40], nil, nil), (.raid1, [1 << 40, 1 << 40, 1 << 40], nil, nil), (.linear, [], nil, nil),
            (.linear, [64 << 20], nil, nil), (.linear, [1 << 40], nil, UInt64(100_000)),
            (.linear, [1 << 40], nil, 4096),
        ] as [(LVMPool.Layout, [UInt64], Int?, UInt64?)])
    func whatDoesNotGoTogetherIsRefused(layout: LVMPool.Layout, drives: [UInt64], stripes: Int?, chunk: UInt64?) {
        let error = #expect(throws: PerSSDError.self) {
            try plan(layout, drives, stripes: stripes, chunk: chunk)
        }
        #expect(error?.code == .invalidArgument)
    }

    /// Chunks grow where the metadata would not find room in what the kernel can use.
    @Test func metadataStayWithinTheKernelsLimit() throws {
        for tebibytes in [1, 7, 8, 30, 100, 1000] as [UInt64] {
            let plan = try plan(.linear, [tebibytes << 40])
            #expect(plan.metadataBytes <= ThinPoolPlan.largestMetadata)
            #expect(plan.metadataBytes >= plan.dataBytes / plan.chunkBytes * ThinPoolPlan.metadataPerChunk)
            #expect((plan.chunkBytes == 64 << 10) == (tebibytes <= 7))
        }
    }

    /// Against the tool that knows: metadata for two volumes that each fill the pool, a copy and its base.
    @Test(arguments: [1, 100, 1000] as [UInt64]) func metadataAreMoreThanTheToolSays(gibibytes: UInt64) async throws {
        let plan = try plan(.linear, [gibibytes << 30])
        let said = try await Scratch.with { scratch in
            try scratch.run(
                "thin_metadata_size",
                [
                    "-b", "\(plan.chunkBytes)b", "-s", "\(2 * plan.dataBytes)b", "-m", "1000", "-n", "-u", "b",
                ])
        }
        let needed = try #require(UInt64(said.filter(\.isNumber)))
        #expect(plan.metadataBytes >= needed)
    }
}
