import CSI
import Errors
import Foundation
import Persistence
import RPC

/// One plugin process of the demo, and how it is called.
struct DemoPlugin: Sendable {
    let name: String
    let process: ChildProcess
    let channel: RPCClient

    var identity: IdentityClient { IdentityClient(channel) }
    var controller: ControllerClient { ControllerClient(channel) }
    var node: NodeClient { NodeClient(channel) }

    /// - Parameter program: "perssd-node", beside this program.
    static func start(
        _ name: String, _ program: String, _ arguments: [String], environment: [String: String],
        in directory: DemoDirectory
    ) async throws -> DemoPlugin {
        let socket = directory.file("\(name).sock")
        let process = try await ChildProcess.start(
            name, try beside(program),
            ["--endpoint", "unix://\(socket)", "--node-id", name, "--cluster", "demo", "--log-format", "json"]
                + arguments,
            environment: environment.merging(["PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": directory.path]) {
                mine, _ in
                mine
            }, logPath: directory.file("\(name).log"), recordPath: directory.file("processes/\(name)"))
        return DemoPlugin(name: name, process: process, channel: try RPCClient(.unix(path: socket)))
    }

    /// Waits until the plugin says that it is ready, as the liveness probe does.
    func waitUntilReady() async throws {
        let deadline = ContinuousClock.now + .seconds(60)
        var last: any Error = RPCStatus(.unavailable, "it has not been asked")
        while ContinuousClock.now < deadline {
            guard process.isRunning else {
                throw PerSSDError(.unavailable, "\(name) ended: \(process.lastWords)", remedy: "see \(process.logPath)")
            }
            do {
                let answer = try await identity.probe(ProbeRequest(), options: RPCCallOptions(timeout: .seconds(10)))
                if answer.ready != false { return }
            } catch {
                last = error
            }
            try await Task.sleep(for: .milliseconds(50))
        }
        throw PerSSDError(
            .unavailable, "\(name) is not ready after 60 s", remedy: "see \(process.logPath)", cause: last)
    }

    /// What kubelet and every sidecar ask first.
    ///
    /// - Returns: the driver's name and version.
    func introduce() async throws -> String {
        let options = RPCCallOptions(timeout: .seconds(30))
        let info = try await identity.getPluginInfo(GetPluginInfoRequest(), options: options)
        _ = try await identity.getPluginCapabilities(GetPluginCapabilitiesRequest(), options: options)
        return "\(info.name) \(info.vendorVersion)"
    }

    func stop() async {
        await channel.close()
        await process.stop()
    }

    /// What the process has asked of the store up to its last RPC, as its log says.
    var storeTotals: StoreTotals {
        guard let text = try? String(contentsOfFile: process.logPath, encoding: .utf8) else { return StoreTotals() }
        struct Line: Decodable {
            var storeRequests: String
            var storeSent: String
            var storeReceived: String
        }
        for line in text.split(separator: "\n").reversed() where line.contains("\"storeRequests\"") {
            guard let totals = try? JSONDecoder().decode(Line.self, from: Data(line.utf8)) else { continue }
            return StoreTotals(
                requests: Int(totals.storeRequests) ?? 0, sent: UInt64(totals.storeSent) ?? 0,
                received: UInt64(totals.storeReceived) ?? 0)
        }
        return StoreTotals()
    }

    private static func beside(_ program: String) throws -> String {
        let own = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        let path = URL(fileURLWithPath: own).deletingLastPathComponent().appendingPathComponent(program).path
        guard FileManager.default.isExecutableFile(atPath: path) else {
            throw PerSSDError(
                .failedPrecondition, "\(path) is missing", remedy: "build all programs: make build")
        }
        return path
    }
}

/// What processes have asked of the store.
struct StoreTotals: Sendable, Equatable {
    var requests = 0
    var sent: UInt64 = 0
    var received: UInt64 = 0

    static func + (a: StoreTotals, b: StoreTotals) -> StoreTotals {
        StoreTotals(requests: a.requests + b.requests, sent: a.sent + b.sent, received: a.received + b.received)
    }

    static func - (a: StoreTotals, b: StoreTotals) -> StoreTotals {
        StoreTotals(
            requests: a.requests - b.requests, sent: a.sent - min(a.sent, b.sent),
            received: a.received - min(a.received, b.received))
    }
}
