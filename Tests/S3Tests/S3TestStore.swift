import Errors
import Foundation
import Persistence
import Testing
import TestSupport

/// A store in a place of its own on a real server.
///
/// - Parameter change: what the test wants otherwise.
func makeStore(
    on server: any S3Server, endpoint: String? = nil, _ change: (inout S3Configuration) -> Void = { _ in }
) async throws -> S3Store {
    var configuration = try await makeConfiguration(on: server)
    if let endpoint { configuration.endpoint = try S3EndpointURL(endpoint) }
    change(&configuration)
    return try S3Store(configuration)
}

/// A prefix of its own in the bucket that all tests on a server share: SeaweedFS sets volumes aside for each bucket, and
/// has few in a test.
func makeConfiguration(on server: any S3Server) async throws -> S3Configuration {
    let bucket = try await SharedBuckets.shared.bucket(on: server)
    return try configuration(on: server, bucket: bucket, prefix: "tests/\(UInt64.random(in: 0...UInt64.max))")
}

func configuration(on server: any S3Server, bucket: String, prefix: String = "") throws -> S3Configuration {
    var configuration = try S3Configuration(
        bucket: bucket, prefix: prefix, endpoint: server.endpoint.url, region: server.endpoint.region)
    configuration.credentials = .fixed(
        S3Credentials(accessKeyID: server.endpoint.accessKey, secretAccessKey: server.endpoint.secretKey))
    return configuration
}

private actor SharedBuckets {
    static let shared = SharedBuckets()
    private var making: [Int: Task<String, any Error>] = [:]

    func bucket(on server: any S3Server) async throws -> String {
        let task = making[server.endpoint.port] ?? Task { try await server.makeBucket() }
        making[server.endpoint.port] = task
        return try await task.value
    }
}

func key(_ path: String) throws -> ObjectKey { try ObjectKey(path) }

/// Bytes that are alike in no two places, and the same in each run.
func someBytes(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
    var state = seed &* 0x9E37_79B9_7F4A_7C15 | 1
    return [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
        for index in buffer.indices {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            buffer[index] = UInt8(truncatingIfNeeded: state >> 32)
        }
        initialized = count
    }
}

/// Runs `body`, which has to throw an error of that code.
@discardableResult
func expectError(
    _ code: PerSSDError.Code, sourceLocation: SourceLocation = #_sourceLocation, _ body: () async throws -> Void
) async -> PerSSDError {
    do {
        try await body()
        Issue.record("no error, where one with the code \(code) was expected", sourceLocation: sourceLocation)
    } catch let error as PerSSDError {
        #expect(error.code == code, "\(error)", sourceLocation: sourceLocation)
        return error
    } catch {
        Issue.record("another kind of error: \(error)", sourceLocation: sourceLocation)
    }
    return PerSSDError(.internal, "")
}
