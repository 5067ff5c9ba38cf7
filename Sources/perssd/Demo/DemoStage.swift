import Foundation

/// The processes of a demo.
actor DemoStage {
    private let directory: DemoDirectory
    private var server: DemoServer?
    private var plugins: [DemoPlugin] = []

    /// What a pool may take; images are sparse.
    private static let poolSize = "64GiB"

    init(directory: DemoDirectory) { self.directory = directory }

    /// Starts all processes and does the job.
    func play(data: String, weed: String?) async throws -> [DemoSteps.Step] {
        _ = try await directory.make("processes")
        var store = ["--store", "file://" + (try await directory.make("bucket"))]
        var environment: [String: String] = [:]
        if let weed {
            Output.note("starting SeaweedFS ...")
            let server = try await DemoServer.start(weed, in: directory)
            self.server = server
            environment = server.environment
            store = ["--store", "s3://\(DemoServer.bucket)/demo", "--store-endpoint", server.endpoint]
        }
        Output.note("starting perssd-controller and two perssd-node ...")
        let controller = try await start("controller", "perssd-controller", store, environment)
        let a = try await startNode("node-a", store, environment)
        let b = try await startNode("node-b", store, environment)
        for plugin in [controller, a, b] {
            try await plugin.waitUntilReady()
            Output.note("    \(plugin.name): \(try await plugin.introduce())")
        }
        Output.note("copying \(data); store \(store[1])")
        return try await DemoRun(directory: directory, data: data, controller: controller, nodes: (a, b)).run()
    }

    private func startNode(
        _ name: String, _ store: [String], _ environment: [String: String]
    ) async throws -> DemoPlugin {
        let pool = try await directory.make("\(name)/pool")
        let state = try await directory.make("\(name)/state")
        return try await start(
            name, "perssd-node",
            store + ["--pool", "directory=\(pool),size=\(Self.poolSize)", "--state-directory", state], environment)
    }

    private func start(
        _ name: String, _ program: String, _ arguments: [String], _ environment: [String: String]
    ) async throws -> DemoPlugin {
        let plugin = try await DemoPlugin.start(name, program, arguments, environment: environment, in: directory)
        plugins.append(plugin)
        return plugin
    }

    /// Ends all processes: the plugins in order, the server at once, as nothing in it is kept.
    func end() async {
        for plugin in plugins.reversed() { await plugin.stop() }
        plugins = []
        await server?.process.stop(SIGKILL)
        server = nil
    }
}
