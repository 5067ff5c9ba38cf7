import DeviceTestSupport
import Errors
import LinuxSystem
import Testing

@testable import LocalVolumes

/// What is done before a cut, so that volumes stand still for no longer than they have to; and on which kernels they can.
@Suite struct LVMCutTests {
    private func withPool(
        _ runner: FakeRunner, kernel: KernelRelease? = nil, _ body: (LVMPool) async throws -> Void
    ) async throws {
        try await Scratch.with { scratch in
            let pool = try await LVMPool.open(
                name: "p", options: LVMPool.Options(volumeGroup: "g"), lockDirectory: scratch.appending("locks"),
                runner: runner, kernel: kernel, logger: silent)
            _ = try await pool.recover()
            try await body(pool)
        }
    }

    /// What a cut runs, up to where the device is missing that the tools would have made.
    private func commandsOfCut(_ pool: LVMPool, _ runner: FakeRunner) async -> [Substring] {
        let before = runner.calls.count
        #expect(await failure { _ = try await pool.cut("a") } != nil)
        return runner.calls.dropFirst(before).compactMap { $0.split(separator: " ").dropFirst().first }
    }

    @Test func aPreparedCutRunsNothingButItself() async throws {
        let runner = LVMListingTests.runner(hasCut: false)
        try await withPool(runner) { pool in
            #expect(await commandsOfCut(pool, runner) == ["lvs", "lvcreate", "lvchange"])
        }
        try await withPool(runner) { pool in
            try await pool.prepareCut("a")
            #expect(await commandsOfCut(pool, runner) == ["lvcreate", "lvchange"])
            // It may be there now, for all the pool knows; and what was prepared was so for one.
            try await pool.prepareCut("a")
            #expect(await commandsOfCut(pool, runner) == ["lvs", "lvcreate", "lvchange"])
            #expect(await failure { try await pool.prepareCut("b") }?.code == .notFound)
        }
    }

    @Test func aVolumeThatHasACutIsNotPrepared() async throws {
        let runner = LVMListingTests.runner()
        try await withPool(runner) { pool in
            try await pool.prepareCut("a")
            #expect(await failure { _ = try await pool.cut("a") }?.code == .failedPrecondition)
            #expect(!runner.calls.contains { $0.contains("lvcreate") })
        }
    }

    @Test(arguments: [
        ("6.8.0-31-generic", true), ("6.12.117+deb13-amd64", true), ("7.0", true), ("6.7.12", false),
        ("6.1.0-56-amd64", false), ("5.14.0-427.el9.x86_64", false),
    ])
    func whatIsFrozenIsCutWhereFreezesNest(release: String, canBe: Bool) async throws {
        let runner = LVMListingTests.runner(hasCut: false)
        try await withPool(runner, kernel: try KernelRelease(parsing: release)) { pool in
            let error = await failure { try pool.requireFrozenCuts() }
            guard !canBe else { return #expect(error == nil) }
            #expect(error?.code == .failedPrecondition && error?.message.contains("on Linux \(release)") == true)
            for remedy in ["Linux 6.8 or later", "unpublish", "pools of images"] {
                #expect(error?.remedy?.contains(remedy) == true)
            }
        }
    }
}
