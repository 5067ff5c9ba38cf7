import Foundation
import Glibc
import Logging
import SystemPackage
import TestSupport
import Testing

@testable import CSINode

/// Pools that come and go between two starts of the plugin, while the registrar lives on.
@Suite struct RegistrationTests {
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    private var file: String { directory + "registration.json" }
    private var socket: String { directory + "reg.sock" }
    private var hasSocket: Bool { FileManager.default.fileExists(atPath: socket) }

    /// What the next start of the plugin has.
    private func registration(
        _ pools: [String], maximumVolumes: Int = 0, patience: Duration = .milliseconds(20),
        pauses: ClosedRange<Duration> = .milliseconds(20) ... .milliseconds(20), socket: String? = nil
    ) -> Registration {
        var topology = ["topology.csi.perssd.io/node": "n"]
        for pool in pools { topology["pool.csi.perssd.io/\(pool)"] = "true" }
        return Registration(
            info: Registration.Info(nodeID: "n", maximumVolumes: maximumVolumes, topology: topology),
            file: FilePath(file), socket: FilePath(socket ?? self.socket),
            times: Registration.Times(patience: patience, pauses: pauses), logger: Logger(label: "test"))
    }

    private func makeSocket() { #expect(mknod(socket, S_IFSOCK | 0o600, 0) == 0) }

    private func wait(until condition: () -> Bool) async throws {
        for _ in 0..<6000 where !condition() { try await Task.sleep(for: .milliseconds(10)) }
        #expect(condition())
    }

    @Test func whatKubeletWasToldLastIsComparedWithWhatItWouldHearNow() async throws {
        let first = registration(["a"])
        #expect(await !first.isOutdated, "kubelet has not asked yet, and will")
        await first.told()
        #expect(await !first.isOutdated)
        #expect(await !registration(["a"]).isOutdated)
        #expect(await registration(["a", "b"]).isOutdated)
        #expect(await registration([]).isOutdated)
        #expect(await registration(["a"], maximumVolumes: 10).isOutdated)
        let next = registration(["a", "b"])
        await next.told()
        #expect(await !next.isOutdated)
        #expect(await !registration(["a", "b"]).isOutdated)
        #expect(await registration(["a"]).isOutdated)
    }

    @Test func aFileThatSaysNothingMakesKubeletAskOnce() async throws {
        for text in ["", "{}", "{\"format\":2,\"info\":{}}"] {
            try Data(text.utf8).write(to: URL(fileURLWithPath: file))
            let registration = registration(["a"])
            #expect(await registration.isOutdated)
            await registration.told()
            #expect(await !registration.isOutdated)
            #expect(await !self.registration(["a"]).isOutdated, "it is written anew")
        }
    }

    @Test func aFileThatCannotBeWrittenKeepsNobodyWaiting() async throws {
        await registration(["a"]).told()
        let other = registration(["b"])
        try FileManager.default.removeItem(atPath: file)
        try FileManager.default.createDirectory(atPath: file + "/in the way", withIntermediateDirectories: true)
        await other.told()
        #expect(await !other.isOutdated, "it would be asked again and again")
    }

    @Test func theSocketGoesUntilKubeletHasAsked() async throws {
        await registration(["a"]).told()
        makeSocket()
        let next = registration(["a", "b"])
        let run = Task { await next.run() }
        try await wait { !hasSocket }
        // A registrar that has made it, and that kubelet has not asked.
        makeSocket()
        try await wait { !hasSocket }
        await next.told()
        await run.value
        makeSocket()
        await registration(["a", "b"]).run()
        #expect(hasSocket)
    }

    @Test func kubeletIsGivenTimeToAskByItself() async throws {
        await registration(["a"]).told()
        makeSocket()
        let next = registration(["a", "b"], patience: .seconds(3))
        let run = Task { await next.run() }
        try await Task.sleep(for: .milliseconds(100))
        #expect(hasSocket)
        await next.told()
        await run.value
        #expect(hasSocket)
    }

    @Test func nothingButASocketIsRemoved() async throws {
        await registration(["a"]).told()
        let path = directory + "precious"
        try Data().write(to: URL(fileURLWithPath: path))
        let link = directory + "link"
        try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: path)
        for socket in [path, link, directory + "none"] {
            let run = Task { await registration(["b"], socket: socket).run() }
            try await Task.sleep(for: .milliseconds(100))
            run.cancel()
            await run.value
        }
        #expect(FileManager.default.fileExists(atPath: path) && FileManager.default.fileExists(atPath: link))
    }
}
