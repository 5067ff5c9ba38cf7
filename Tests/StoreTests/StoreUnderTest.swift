import Errors
import Foundation
import Persistence
import TestSupport
import Testing

/// The stores that have to behave alike.
enum StoreKind: String, CaseIterable, Sendable, CustomTestStringConvertible {
    case ext4, xfs, tmpfs
    case seaweedFS = "SeaweedFS"
    case radosGateway = "RADOS Gateway"

    var testDescription: String { rawValue }

    /// An empty store of its own.
    func make() async throws -> StoreUnderTest {
        switch self {
        case .ext4, .xfs, .tmpfs:
            let fileSystem = try await TestFileSystem.shared(rawValue)
            let directory = try fileSystem.makeDirectory()
            let store = try await DirectoryStore.open(directory: directory)
            return StoreUnderTest(store: store, racerLocation: store.location, racerEnvironment: [:], kept: fileSystem)
        case .seaweedFS: return try await make(on: SeaweedFS.shared())
        case .radosGateway: return try await make(on: RadosGateway.shared())
        }
    }

    private func make(on server: any S3Server) async throws -> StoreUnderTest {
        let bucket = try await server.makeBucket()
        return StoreUnderTest(
            store: try makeS3Store(server, bucket: bucket), racerLocation: "s3:\(server.endpoint.url):\(bucket)",
            racerEnvironment: [
                "AWS_ACCESS_KEY_ID": server.endpoint.accessKey, "AWS_SECRET_ACCESS_KEY": server.endpoint.secretKey,
            ], kept: nil)
    }

    /// Servers here share two cores with all else.
    var isRemote: Bool { self == .seaweedFS || self == .radosGateway }
}

func makeS3Store(_ server: any S3Server, bucket: String) throws -> S3Store {
    var configuration = try S3Configuration(bucket: bucket, endpoint: server.endpoint.url)
    configuration.credentials = .fixed(
        S3Credentials(accessKeyID: server.endpoint.accessKey, secretAccessKey: server.endpoint.secretKey))
    return try S3Store(configuration)
}

struct StoreUnderTest: Sendable {
    let store: any ObjectStore
    /// How `store-racer` reaches it.
    let racerLocation: String
    let racerEnvironment: [String: String?]
    /// Lives as long as the store.
    let kept: TestFileSystem?

    func startRacer(_ words: [String], directory: TemporaryDirectory) async throws -> TestProcess {
        try await TestProcess.start(
            PackageRoot.builtProgram("store-racer"), [racerLocation] + words, environment: racerEnvironment,
            directory: directory)
    }
}

/// A file system of its own, mounted for as long as the value lives.
final class TestFileSystem: Sendable {
    let path: String
    private let directory: TemporaryDirectory

    private static let mounted = MountedOnce()

    /// One of each type for the tests of this process.
    static func shared(_ type: String) async throws -> TestFileSystem { try await mounted.get(type) }

    /// - Parameter type: "tmpfs", or one that has a `mkfs`, on a loop device.
    static func mount(_ type: String, megabytes: Int) async throws -> TestFileSystem {
        let directory = try TemporaryDirectory(type)
        let path = directory + "mount"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
        let mount = try PackageRoot.systemProgram("mount", package: "mount")
        if type == "tmpfs" {
            try await TestCommand.run(mount, ["-t", "tmpfs", "-o", "size=\(megabytes)m", "tmpfs", path])
        } else {
            let image = directory + "image"
            guard FileManager.default.createFile(atPath: image, contents: nil),
                truncate(image, off_t(megabytes) << 20) == 0
            else { throw TestSetupError("cannot make \(image)") }
            let makers = ["ext4": "e2fsprogs", "xfs": "xfsprogs"]
            try await TestCommand.run(
                PackageRoot.systemProgram("mkfs.\(type)", package: makers[type] ?? type), ["-q", image])
            try await TestCommand.run(mount, ["-t", type, "-o", "loop", image, path])
        }
        return TestFileSystem(path, directory)
    }

    private init(_ path: String, _ directory: TemporaryDirectory) { (self.path, self.directory) = (path, directory) }

    /// A new, empty directory on it.
    func makeDirectory() throws -> String {
        let new = "\(path)/\(UInt64.random(in: 0...UInt64.max))"
        try FileManager.default.createDirectory(atPath: new, withIntermediateDirectories: false)
        return new
    }

    func remount(_ options: String) async throws {
        try await TestCommand.run(
            PackageRoot.systemProgram("mount", package: "mount"), ["-o", "remount,\(options)", path])
    }
}

private actor MountedOnce {
    private var tasks: [String: Task<TestFileSystem, any Error>] = [:]

    func get(_ type: String) async throws -> TestFileSystem {
        let task = tasks[type] ?? Task { try await TestFileSystem.mount(type, megabytes: 400) }
        tasks[type] = task
        return try await task.value
    }
}

extension ObjectKey: ExpressibleByStringLiteral {
    /// Only for the keys that are written out in tests.
    public init(stringLiteral value: String) { try! self.init(value) }
}

/// The code of what `body` throws; nil where it throws nothing.
func code(_ body: () async throws -> some Any) async -> PerSSDError.Code? {
    do {
        _ = try await body()
        return nil
    } catch {
        return PerSSDError(wrapping: error).code
    }
}

func pattern(_ count: Int, seed: UInt8 = 0) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) &+ seed }
}
