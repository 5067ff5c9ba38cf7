import Errors
import Foundation
import Persistence
import Testing
import TestSupport

/// A store in a new bucket of a real server.
///
/// - Parameter change: what the test wants otherwise.
func makeStore(
    on server: any S3Server, endpoint: String? = nil, _ change: (inout S3Configuration) -> Void = { _ in }
) async throws -> S3Store {
    let bucket = try await server.makeBucket()
    return try S3Store(configuration(on: server, bucket: bucket, endpoint: endpoint, change))
}

func configuration(
    on server: any S3Server, bucket: String, endpoint: String? = nil, _ change: (inout S3Configuration) -> Void = { _ in }
) throws -> S3Configuration {
    var configuration = try S3Configuration(
        bucket: bucket, prefix: "here/there", endpoint: endpoint ?? server.endpoint.url, region: server.endpoint.region)
    configuration.credentials = .fixed(
        S3Credentials(accessKeyID: server.endpoint.accessKey, secretAccessKey: server.endpoint.secretKey))
    change(&configuration)
    return configuration
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
