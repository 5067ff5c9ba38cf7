import Commands
import DeviceTestSupport
import Errors
import Testing

@testable import LocalVolumes

/// How a pool is opened, with tools that say what only a broken machine makes them say. The rest is tried with real tools on
/// real drives, by `pool-conformance` in a virtual machine.
@Suite struct LVMOpeningTests {
    private static func group(_ tags: String, extent: Int = 4_194_304, missing: Int = 0) -> String {
        #"{"report":[{"vg":[{"vg_name":"g", "vg_tags":"\#(tags)", "vg_extent_size":"\#(extent)", "#
            + #""vg_missing_pv_count":"\#(missing)"}]}]}"#
    }

    private static let ours = "perssd,perssd.format=1,perssd.pool=p"
    private static let pool = """
        {"report":[{"lv":[{"lv_name":"perssd", "lv_size":"1073741824", "lv_tags":"perssd,perssd.kind=pool",
        "segtype":"thin-pool", "pool_lv":"", "thin_id":"", "lv_active":"active", "data_percent":"0.40",
        "metadata_percent":"10.28", "lv_metadata_size":"16777216", "chunk_size":"65536", "lv_health_status":"HEALTH",
        "lv_check_needed":""}]}]}
        """

    private static func runner(
        groups: String, version: String = "2.03.16", health: String = "", lvchange: CommandResult = answered(),
        missing: String? = nil
    ) -> FakeRunner {
        FakeRunner { command in
            if command.program == missing {
                throw PerSSDError(.failedPrecondition, "the program \(command.program) is not installed")
            }
            switch command.arguments.first {
            case "version": return answered("  LVM version:     \(version)(2) (2022-05-18)\n")
            case "vgs": return answered(groups)
            case "lvs": return answered(pool.replacing("HEALTH", with: health))
            case "lvchange": return lvchange
            default: return answered()
            }
        }
    }

    private func open(
        _ scratch: Scratch, _ runner: FakeRunner, layout: LVMPool.Layout = .linear, mayCreate: Bool = false
    ) async throws -> LVMPool {
        try await LVMPool.open(
            name: "p", options: LVMPool.Options(volumeGroup: "g", layout: layout, mayCreate: mayCreate),
            lockDirectory: scratch.appending("locks"), runner: runner, logger: silent)
    }

    @Test(arguments: [
        (group("backup"), PerSSDError.Code.failedPrecondition, "was not made by PerSSD", "perssd.pool=p"),
        (group("perssd,perssd.format=1,perssd.pool=q"), .failedPrecondition, "belongs to another pool", "name"),
        (group("perssd,perssd.format=2,perssd.pool=p"), .unsupported, "perssd.format=2", "version"),
        (group(ours, extent: 33_554_432), .failedPrecondition, "33554432 bytes", "4 MiB"),
        (group(ours, missing: 1), .unavailable, "1 of the drives", "bring them back"),
        (#"{"report":[{"vg":[]}]}"#, .notFound, "there is no volume group 'g'", "create"),
    ])
    func aGroupThatIsNotAsItShouldBeIsLeftAlone(
        groups: String, code: PerSSDError.Code, message: String, remedy: String
    ) async throws {
        try await Scratch.with { scratch in
            let runner = Self.runner(groups: groups)
            let error = await failure { _ = try await open(scratch, runner) }
            #expect(error?.code == code)
            #expect(error?.description.contains(message) == true && error?.description.contains(remedy) == true)
            let changing = ["vgcreate", "vgchange", "lvcreate", "lvchange", "lvremove", "vgremove"]
            #expect(!runner.calls.contains { call in changing.contains { call.contains($0) } }, "\(runner.calls)")
        }
    }

    @Test func oldAndMissingToolsAreNamed() async throws {
        try await Scratch.with { scratch in
            let old = Self.runner(groups: Self.group(Self.ours), version: "2.02.180")
            let error = await failure { _ = try await open(scratch, old) }
            #expect(error?.code == .unsupported && error?.description.contains("2.02.180") == true)
            for tool in ["lvm", "thin_check", "thin_delta", "thin_dump", "dmsetup"] {
                let lacking = Self.runner(groups: Self.group(Self.ours), missing: tool)
                let error = await failure { _ = try await open(scratch, lacking) }
                #expect(error?.code == .poolMissing && error?.description.contains(tool) == true)
            }
        }
    }

    @Test func aMirrorMayLackOneDrive() async throws {
        try await Scratch.with { scratch in
            let runner = Self.runner(groups: Self.group(Self.ours, missing: 1))
            #expect(await failure { _ = try await open(scratch, runner, layout: .raid1) } == nil)
            let two = Self.runner(groups: Self.group(Self.ours, missing: 2))
            #expect(await failure { _ = try await open(scratch, two, layout: .raid1) }?.code == .unavailable)
        }
    }

    @Test func aPoolThatNeedsRepairIsReportedAndNotRepaired() async throws {
        try await Scratch.with { scratch in
            let sick = Self.runner(groups: Self.group(Self.ours), health: "metadata_read_only")
            let first = await failure { _ = try await open(scratch, sick).recover() }
            #expect(first?.code == .failedPrecondition && first?.remedy?.contains("lvconvert --repair") == true)
            let refused = Self.runner(
                groups: Self.group(Self.ours),
                lvchange: answered(
                    error: "  Check of pool g/perssd failed (status:1). Manual repair required!\n", exitCode: 5))
            let second = await failure { _ = try await open(scratch, refused).recover() }
            #expect(second?.code == .failedPrecondition && second?.remedy?.contains("lvconvert --repair") == true)
            for runner in [sick, refused] { #expect(!runner.calls.contains { $0.contains("lvconvert") }) }
        }
    }

    @Test func settingsOfOursGoWithEachCommand() async throws {
        let runner = FakeRunner { _ in answered() }
        try await LVMTools(runner: runner, hasUdev: false).lvm("lvremove", ["--yes", "g/v"])
        let bare = try #require(runner.last)
        #expect(bare.environment["DM_DISABLE_UDEV"] == "1")
        #expect(bare.arguments[2].contains("udev_sync=0") && bare.arguments[2].contains("use_devicesfile=0"))
        try await LVMTools(runner: runner, hasUdev: true).lvm("lvremove", ["--yes", "g/v"])
        let synced = try #require(runner.last)
        #expect(synced.environment["DM_DISABLE_UDEV"] == nil)
        #expect(synced.arguments[2].contains("udev_sync=1"))
    }

    @Test(arguments: [
        ("  Logical volume pvg/b2.vol-abc in use.", PerSSDError.Code.failedPrecondition, "unmount"),
        ("  Logical volume g/v contains a filesystem in use.", .failedPrecondition, "unmount"),
        (
            "  Insufficient suitable allocatable extents for logical volume perssd: 5 more required",
            .resourceExhausted, "drives"
        ),
        (
            "  thin-pool: Required device-mapper target(s) not detected in your kernel.\n  /dev/mapper/control: open failed",
            .poolMissing, "modprobe"
        ),
        ("  thin-pool: Required device-mapper target(s) not detected in your kernel.", .poolMissing, "dm-thin-pool"),
        ("  Can't process LV g/perssd: thin-pool target support missing from kernel?", .poolMissing, "dm-thin-pool"),
        (
            "  Thin pool g-perssd-tpool (254:2) transaction_id is 0, while expected 18.", .failedPrecondition,
            "lvconvert --repair"
        ),
        ("  Cannot change VG g while PVs are missing.", .unavailable, "vgreduce --removemissing"),
        ("  something else", .internal, ""),
    ])
    func failuresAreExplained(words: String, code: PerSSDError.Code, remedy: String) async throws {
        let runner = FakeRunner { _ in answered(error: words, exitCode: 5) }
        let error = await failure { try await LVMTools(runner: runner).lvm("lvremove", ["g/v"]) }
        #expect(error?.code == code)
        #expect(error?.commandFailure?.exitCode == 5)
        #expect(
            error?.description.contains(words.split(separator: "\n").last!.trimmingPrefix(while: { $0 == " " })) == true
        )
        if !remedy.isEmpty { #expect(error?.remedy?.contains(remedy) == true) }
    }

    private actor Visitors {
        private var inside = 0
        private(set) var most = 0

        func enter() {
            inside += 1
            most = max(most, inside)
        }

        func leave() { inside -= 1 }
    }

    @Test func oneTaskAtATimeIsLetIn() async throws {
        let lock = AsyncLock()
        let visitors = Visitors()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<50 {
                group.addTask {
                    try await lock.run {
                        await visitors.enter()
                        await Task.yield()
                        await visitors.leave()
                    }
                    _ = await failure { try await lock.run { throw PerSSDError(.internal, "on purpose") } }
                }
            }
            try await group.waitForAll()
        }
        #expect(await visitors.most == 1)
    }
}
