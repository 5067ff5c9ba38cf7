import Foundation

/// An S3 server that tests talk to on the loopback interface.
public protocol S3Server: Sendable {
    /// "SeaweedFS", for messages.
    var name: String { get }
    var endpoint: S3Endpoint { get }
    var process: TestProcess { get }
}

/// Where an S3 server listens, and the keys of a user who may do everything there.
public struct S3Endpoint: Sendable {
    public let port: Int
    public let accessKey: String
    public let secretKey: String
    public let region = "us-east-1"

    /// "http://127.0.0.1:12345"
    public var url: String { "http://127.0.0.1:\(port)" }

    init(port: Int) {
        self.port = port
        accessKey = "AK" + Self.random(18)
        secretKey = Self.random(40)
    }

    private static func random(_ count: Int) -> String {
        String((0..<count).map { _ in "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789".randomElement()! })
    }
}

extension S3Server {
    /// Makes an empty bucket, for one test alone.
    ///
    /// - Returns: its name.
    public func makeBucket() async throws -> String {
        let bucket = "test-\(UInt64.random(in: 0...UInt64.max))"
        try await makeBucket(bucket)
        return bucket
    }

    public func makeBucket(_ bucket: String) async throws {
        let status = try await request("PUT", "/\(bucket)")
        guard status == "200" else { throw TestSetupError("\(name) answers \(status) to the making of \(bucket)") }
    }

    /// Removes an empty bucket.
    public func removeBucket(_ bucket: String) async throws {
        let status = try await request("DELETE", "/\(bucket)")
        guard status == "204" else { throw TestSetupError("\(name) answers \(status) to the removal of \(bucket)") }
    }

    /// A signed request without a body, made by curl, so that the project's own client has no part in it.
    private func request(_ method: String, _ path: String) async throws -> String {
        try await TestCommand.run(
            PackageRoot.systemProgram("curl", package: "curl"),
            [
                "--silent", "--show-error", "--max-time", "60", "--request", method, "--output", "/dev/null",
                "--write-out", "%{http_code}", "--aws-sigv4", "aws:amz:\(endpoint.region):s3",
                "--user", "\(endpoint.accessKey):\(endpoint.secretKey)",
                // SHA-256 of nothing.
                "--header",
                "x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                endpoint.url + path,
            ])
    }
}

/// A server that is started when first asked for, and lasts as long as the test process.
actor SharedServer<Server: Sendable> {
    private let make: @Sendable () async throws -> Server
    private var starting: Task<Server, any Error>?

    init(_ make: @escaping @Sendable () async throws -> Server) { self.make = make }

    func get() async throws -> Server {
        let task = starting ?? Task { [make] in try await make() }
        starting = task
        return try await task.value
    }
}
