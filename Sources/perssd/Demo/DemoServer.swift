import Blocking
import Commands
import Errors
import Foundation
import LinuxSystem
import SystemPackage

/// The S3 server of the demo: SeaweedFS on the loopback interface, with a bucket in it.
struct DemoServer: Sendable {
    let process: ChildProcess
    let endpoint: String
    /// What the plugins' processes need to know it.
    let environment: [String: String]

    static let bucket = "perssd-demo"

    /// - Parameter program: where `weed` is.
    static func start(_ program: String, in directory: DemoDirectory) async throws -> DemoServer {
        let place = try await directory.make("seaweedfs")
        _ = try await directory.make("seaweedfs/data")
        let ports = try freePorts(8)
        let (key, secret) = (randomText(20), randomText(40))
        let identities = """
            {"identities": [{"name": "demo", "credentials": [{"accessKey": "\(key)", "secretKey": "\(secret)"}],
              "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}
            """
        try await BlockingPool.shared.run {
            try DurableFile.write([UInt8](identities.utf8), to: FilePath("\(place)/s3.json"))
        }
        let process = try await ChildProcess.start(
            "seaweedfs", program,
            [
                "-logtostderr=true", "server", "-dir=\(place)/data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
                "-master.port=\(ports[0])", "-master.port.grpc=\(ports[1])", "-master.volumeSizeLimitMB=1024",
                "-master.telemetry=false", "-volume.port=\(ports[2])", "-volume.port.grpc=\(ports[3])",
                "-volume.max=60", "-volume.minFreeSpace=1", "-filer", "-filer.port=\(ports[4])",
                "-filer.port.grpc=\(ports[5])", "-filer.localSocket=\(place)/filer.sock", "-s3",
                "-s3.port=\(ports[6])", "-s3.port.grpc=\(ports[7])", "-s3.port.iceberg=0", "-s3.port.lance=0",
                "-s3.localSocket=\(place)/s3.sock", "-s3.config=\(place)/s3.json",
            ],
            environment: ["HOME": place, "PATH": "/usr/bin:/bin"], logPath: directory.file("seaweedfs.log"),
            recordPath: directory.file("processes/seaweedfs"))
        let server = DemoServer(
            process: process, endpoint: "http://127.0.0.1:\(ports[6])",
            environment: ["AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret])
        do {
            try await server.makeBucket()
        } catch {
            await process.stop(SIGKILL)
            throw error
        }
        return server
    }

    /// Tries until the server is there: it takes some seconds to start.
    private func makeBucket() async throws {
        let deadline = ContinuousClock.now + .seconds(60)
        var last = ""
        while ContinuousClock.now < deadline {
            guard process.isRunning else {
                throw PerSSDError(
                    .unavailable, "SeaweedFS ended: \(process.lastWords)", remedy: "see its log, \(process.logPath)")
            }
            last = try await put(Self.bucket)
            if last == "200" { return }
            try await Task.sleep(for: .milliseconds(250))
        }
        throw PerSSDError(
            .unavailable, "SeaweedFS makes no bucket; its last answer was \(last)",
            remedy: "see its log, \(process.logPath)")
    }

    /// By curl, which can sign: making buckets is not PerSSD's business.
    ///
    /// - Returns: the HTTP status, "000" where nobody answers.
    private func put(_ bucket: String) async throws -> String {
        guard let key = environment["AWS_ACCESS_KEY_ID"], let secret = environment["AWS_SECRET_ACCESS_KEY"] else {
            return "000"
        }
        // On standard input or in a file, so that no list of processes shows the secret.
        let options = "user = \"\(key):\(secret)\"\n"
        let path = FilePath(process.logPath + ".curl")
        try await BlockingPool.shared.run { try DurableFile.write([UInt8](options.utf8), to: path) }
        let command = Command(
            "curl",
            [
                "--silent", "--config", path.string, "--max-time", "30", "--request", "PUT", "--output", "/dev/null",
                "--write-out", "%{http_code}", "--aws-sigv4", "aws:amz:us-east-1:s3", "--header",
                // SHA-256 of nothing.
                "x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                "\(endpoint)/\(bucket)",
            ], timeout: .seconds(60), acceptedExitCodes: Set(0...99))
        return try await SubprocessRunner(packages: ["curl": "curl"]).run(command).outputText
    }

    private static func randomText(_ count: Int) -> String {
        String((0..<count).map { _ in "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789".randomElement() ?? "A" })
    }

    /// Ports of 127.0.0.1 that nobody uses now, chosen by the kernel.
    private static func freePorts(_ count: Int) throws -> [UInt16] {
        var sockets: [Int32] = []
        defer { for socket in sockets { close(socket) } }
        return try (0..<count).map { _ in
            let descriptor = try systemCall("make a socket") {
                socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
            }
            sockets.append(descriptor)
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_addr.s_addr = UInt32(INADDR_LOOPBACK).bigEndian
            var length = socklen_t(MemoryLayout<sockaddr_in>.size)
            try withUnsafeMutablePointer(to: &address) {
                try $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                    _ = try systemCall("bind to 127.0.0.1") { bind(descriptor, pointer, length) }
                    _ = try systemCall("ask for a port") { getsockname(descriptor, pointer, &length) }
                }
            }
            return UInt16(bigEndian: address.sin_port)
        }
    }
}
