import CSI
import Foundation
import RPC
import Settings
import TestSupport
import Testing

/// The two processes, as programs.
@Suite struct ProcessTests {
    private let directory: TemporaryDirectory

    init() throws {
        directory = try TemporaryDirectory("process")
        try FileManager.default.createDirectory(atPath: directory + "bucket", withIntermediateDirectories: false)
    }

    private var socket: String { directory + "csi.sock" }

    private func arguments(_ program: String) -> [String] {
        let common = [
            "--endpoint", "unix://\(socket)", "--store", "file://" + (directory + "bucket"), "--node-id", "n",
        ]
        guard program == "perssd-node" else { return common }
        return common + ["--pool", "directory=" + (directory + "pool"), "--state-directory", directory + "state"]
    }

    private func start(_ program: String, _ more: [String] = []) async throws -> TestProcess {
        let process = try await TestProcess.start(
            try PackageRoot.builtProgram(program), arguments(program) + more, directory: directory)
        try await process.waitUntilReady { FileManager.default.fileExists(atPath: socket) }
        return process
    }

    @Test(arguments: ["perssd-node", "perssd-controller"])
    func itServesAndEndsInOrder(program: String) async throws {
        let process = try await start(program, ["--log-format", "json"])
        let client = try RPCClient(.unix(path: socket))
        let identity = IdentityClient(client)
        #expect(try await identity.getPluginInfo(GetPluginInfoRequest()).name == "csi.perssd.io")
        #expect(try await identity.probe(ProbeRequest()).ready != false)
        await #expect(throws: RPCStatus.self) {
            if program == "perssd-node" {
                _ = try await NodeClient(client).nodePublishVolume(NodePublishVolumeRequest(volumeID: "vol-x"))
            } else {
                _ = try await ControllerClient(client).createVolume(CreateVolumeRequest(name: "nameless"))
            }
        }
        await client.close()
        process.send(signal: SIGTERM)
        #expect(try await process.waitForExit() == 0, "\(process.output)")
        #expect(!FileManager.default.fileExists(atPath: socket))

        let lines = try process.output.split(separator: "\n").map {
            try #require(JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: String], "\($0)")
        }
        let info = try #require(lines.first { $0["message"] == "GetPluginInfo" })
        #expect(info["code"] == "OK" && info["level"] == "info" && info["ms"] != nil)
        // Eight requests of the store's test at the least.
        #expect(Int(info["storeRequests"] ?? "") ?? 0 >= 8)
        #expect(!lines.contains { $0["message"] == "Probe" })
        let refused = try #require(lines.first { $0["code"] == "INVALID_ARGUMENT" || $0["code"] == "NOT_FOUND" })
        #expect(refused["volume"] == "vol-x" || refused["name"] == "nameless")
        #expect(refused["error"]?.isEmpty == false)
        #expect(lines.last?["message"] == "ended")
    }

    @Test func aNodeTellsHowManyVolumesItMayHave() async throws {
        for (more, expected) in [([], 0), (["--maximum-volumes", "110"], 110)] as [([String], Int64)] {
            let process = try await start("perssd-node", more)
            let client = try RPCClient(.unix(path: socket))
            let info = try await NodeClient(client).nodeGetInfo(NodeGetInfoRequest())
            #expect(info.maxVolumesPerNode == expected)
            await client.close()
            #expect(await process.terminate() == 0)
        }
    }

    @Test func probesAreLoggedWhereAskedFor() async throws {
        let process = try await start("perssd-controller", ["--log-level", "debug"])
        let client = try RPCClient(.unix(path: socket))
        _ = try await IdentityClient(client).probe(ProbeRequest())
        await client.close()
        #expect(await process.terminate() == 0)
        #expect(process.output.contains(" DEBUG Probe code=OK "), "\(process.output)")
    }

    @Test func aSecondProcessOnTheSamePoolOrSocketIsRefused() async throws {
        let process = try await start("perssd-node")
        let other = directory + "other.sock"
        let program = try PackageRoot.builtProgram("perssd-node")
        let samePool = try await TestCommand.status(
            program, arguments("perssd-node").map { $0 == "unix://\(socket)" ? "unix://\(other)" : $0 })
        #expect(samePool.status == 1)
        #expect(samePool.output.contains("is locked by process"), "\(samePool.output)")
        let sameSocket = try await TestCommand.status(
            program,
            arguments("perssd-node").map { $0.hasPrefix("directory=") ? $0 + "2" : $0 })
        #expect(sameSocket.status == 1)
        #expect(sameSocket.output.contains("a server listens on the socket"), "\(sameSocket.output)")
        #expect(await process.terminate() == 0)
    }

    @Test(arguments: ["perssd-node", "perssd-controller"])
    func wrongSettingsAreToldAtOnce(program: String) async throws {
        let path = try PackageRoot.builtProgram(program)
        func run(_ arguments: [String]) async throws -> (status: Int32, output: String) {
            try await TestCommand.status(
                path, arguments, environment: ["CSI_ENDPOINT": nil, "PERSSD_STORE": nil], within: .seconds(60))
        }
        let help = try await run(["--help"])
        #expect(help.status == 0)
        for setting in Setting.allCases { #expect(help.output.contains(setting.option), "\(setting)") }
        #expect(try await run(["--version"]).output.hasPrefix(version))
        let unknown = try await run(["--storage", "x"])
        #expect(unknown.status == ExitMeaning.usage.rawValue)
        #expect(unknown.output.contains("--storage"))
        let nothing = try await run([])
        #expect(nothing.status == ExitMeaning.usage.rawValue)
        #expect(nothing.output.hasPrefix("\(program): no endpoint is given (give --endpoint "))
        let missing = try await run(["--endpoint", "unix://\(socket)", "--store", "file://" + (directory + "missing")])
        #expect(missing.status == ExitMeaning.notFound.rawValue, "\(missing.output)")
        if program == "perssd-node" {
            let poolless = try await run([
                "--endpoint", "unix://\(socket)", "--store", "file://" + (directory + "bucket"),
            ])
            #expect(poolless.status == ExitMeaning.usage.rawValue)
            #expect(poolless.output.contains("a node needs a pool, and none is given"))
        }
    }
}
