import Commands
import DeviceTestSupport
import Errors
import SystemPackage
import Testing

@testable import LocalVolumes

/// How often a pool lists its volumes, which takes LVM longer than most that follows from it.
@Suite struct LVMListingTests {
    private static let record = CopyRecord(
        volume: "a", incarnation: "i", lineage: "l", epoch: 1, generation: 1, state: .dirty, sizeBytes: 4 << 20,
        lastUsed: 0)

    private static func row(_ name: String, _ tags: Set<String>, type: String, id: String) -> String {
        let tags = tags.sorted().joined(separator: ",")
        let pool = type == "thin" ? "perssd" : ""
        return """
            {"lv_name":"\(name)", "lv_size":"\(type == "thin" ? 4 << 20 : 1 << 30)", "lv_tags":"\(tags)",
            "segtype":"\(type)", "pool_lv":"\(pool)", "thin_id":"\(id)", "lv_active":"active", "data_percent":"0.40",
            "metadata_percent":"\(type == "thin" ? "" : "12.50")", "lv_metadata_size":"", "chunk_size":"", "lv_health_status":"", "lv_check_needed":""}
            """
    }

    /// A group with one copy, of volume "a".
    static func runner(hasCut: Bool = true) -> FakeRunner {
        let rows =
            [
                row("perssd", LVMTags.thinPool, type: "thin-pool", id: ""),
                row(LVMNames.copy("a"), LVMTags.encode(.copy(record)), type: "thin", id: "1"),
            ] + (hasCut ? [row("cut", LVMTags.encode(.cut(volume: "a")), type: "thin", id: "2")] : [])
        let groups =
            #"{"report":[{"vg":[{"vg_name":"g", "vg_tags":"perssd,perssd.format=1,perssd.pool=p", "#
            + #""vg_extent_size":"4194304", "vg_missing_pv_count":"0"}]}]}"#
        return FakeRunner { command in
            switch command.arguments.first {
            case "version": answered("  LVM version:     2.03.16(2) (2022-05-18)\n")
            case "vgs": answered(groups)
            case "lvs": answered(#"{"report":[{"lv":["# + rows.joined(separator: ",") + "]}]}")
            default: answered()
            }
        }
    }

    private func listings(_ runner: FakeRunner) -> Int { runner.calls.count { $0.hasPrefix("lvm lvs ") } }

    private func withPool(
        _ runner: FakeRunner, _ body: (LVMPool) async throws -> Void
    ) async throws {
        try await Scratch.with { scratch in
            var options = LVMPool.Options(volumeGroup: "g")
            // However long a busy machine takes between two steps.
            options.listingLifetime = .seconds(3600)
            let pool = try await LVMPool.open(
                name: "p", options: options, lockDirectory: scratch.appending("locks"),
                runner: runner, logger: silent)
            _ = try await pool.recover()
            try await body(pool)
        }
    }

    @Test func howFullAThinPoolIsComesFromTheListing() async throws {
        let runner = Self.runner()
        try await withPool(runner) { pool in
            _ = try await pool.shortage()
            let before = listings(runner)
            #expect(try await pool.fill() == ThinPoolFill(data: 0.004, metadata: 0.125))
            #expect(listings(runner) == before)
        }
    }

    @Test func theStepsOfAStageOutListOnceUntilSomethingChanges() async throws {
        let runner = Self.runner()
        try await withPool(runner) { pool in
            let cut = Cut(volume: "a", path: "/", isIndependent: true)
            let before = listings(runner)
            for _ in 0..<2 {
                #expect(try await pool.changes(in: cut, since: 1) == nil)
                #expect(try await pool.base(of: "a", for: 1) == nil)
            }
            #expect(listings(runner) == before + 1)
            // Tags are a part of it.
            var saved = Self.record
            saved.generation = 2
            try await pool.save(saved)
            #expect(try await pool.changes(in: cut, since: 1) == nil)
            #expect(listings(runner) == before + 2)
            // How full the pool is, it is asked each time.
            for _ in 0..<2 { _ = try await pool.usage() }
            #expect(listings(runner) == before + 4)
        }
    }

    @Test func aStepThatFailedIsFollowedByALook() async throws {
        let runner = Self.runner()
        try await withPool(runner) { pool in
            let cut = Cut(volume: "a", path: "/", isIndependent: true)
            let before = listings(runner)
            // The device of the metadata is not there.
            for _ in 0..<2 { #expect(await failure { _ = try await pool.allocatedRanges(of: cut) } != nil) }
            #expect(listings(runner) == before + 2)
        }
    }
}
