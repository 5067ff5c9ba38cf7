import Errors
import Foundation
import HTTP
import Persistence
import TestSupport
import Testing

/// Wrong settings: each gets an error of its own that says what to do.
@Suite struct S3AccessTests {
    /// Every operation on a store with these settings has to fail with that code and these words.
    private func expectRefusal(
        _ code: PerSSDError.Code, _ words: String, _ store: S3Store, sourceLocation: SourceLocation = #_sourceLocation
    ) async {
        let operations: [() async throws -> Void] = [
            { try await store.check() }, { _ = try await store.read(key("a")) },
            { _ = try await store.read(key("a"), range: 0..<1) }, { _ = try await store.info(key("a")) },
            { _ = try await store.list(prefix: "", after: nil, limit: 1) },
            { _ = try await store.listFolders(in: "", after: nil, limit: 1) },
        ]
        for operation in operations {
            let error = await expectError(code, sourceLocation: sourceLocation, operation)
            #expect("\(error)".contains(words), "\(error)", sourceLocation: sourceLocation)
        }
    }

    @Test func wrongCredentialsAreToldApart() async throws {
        let server = try await SeaweedFS.shared()
        var configuration = try await makeConfiguration(on: server)
        configuration.credentials = .fixed(S3Credentials(accessKeyID: "AKNOBODY", secretAccessKey: "hidden-secret"))
        let stranger = try S3Store(configuration)
        await expectRefusal(.unauthenticated, "does not know the access key", stranger)
        await expectError(.unauthenticated) { _ = try await stranger.write(key("a"), [1], condition: .none) }
        configuration.credentials = .fixed(
            S3Credentials(accessKeyID: server.endpoint.accessKey, secretAccessKey: "hidden-secret"))
        let forger = try S3Store(configuration)
        await expectRefusal(.unauthenticated, "secret key does not belong", forger)
        let error = await expectError(.unauthenticated) { try await forger.remove(key("a")) }
        #expect(!"\(error)".contains("hidden"))
    }

    @Test func aMissingBucketIsNotAnEmptyOne() async throws {
        let store = try await S3Store(configuration(on: SeaweedFS.shared(), bucket: "no-such-bucket"))
        await expectRefusal(.storeMissing, "create the bucket 'no-such-bucket'", store)
        await expectError(.storeMissing) { try await store.remove(key("a")) }
    }

    @Test func aServerThatIsNotThereIsUnavailable() async throws {
        var configuration = try await makeConfiguration(on: SeaweedFS.shared())
        configuration.endpoint = try S3EndpointURL("http://127.0.0.1:\(freePort())")
        configuration.retries = RetryPolicy(maximumAttempts: 2, firstDelay: .milliseconds(1))
        await expectRefusal(.unavailable, "Failed to connect", try S3Store(configuration))
        configuration.endpoint = try S3EndpointURL("http://no-such-host.invalid")
        await expectRefusal(.unavailable, "Could not resolve host", try S3Store(configuration))
    }

    @Test func secretsAreNeitherDescribedNorDumped() {
        let credentials = S3Credentials(accessKeyID: "AKID", secretAccessKey: "hush", sessionToken: "whisper")
        var dumped = ""
        dump(credentials, to: &dumped)
        dump(S3CredentialsSource.fixed(credentials), to: &dumped)
        for text in [
            "\(credentials)", String(reflecting: credentials), "\(S3CredentialsSource.fixed(credentials))", dumped,
        ] {
            #expect(!text.contains("hush") && !text.contains("whisper") && text.contains("AKID"), "\(text)")
        }
    }

    @Test func settingsThatCannotBeAreRefused() throws {
        for bucket in ["", "ab", "a/b", "a b", "..a", "-abc", "Ünder", String(repeating: "a", count: 64), "a\0b"] {
            #expect(throws: PerSSDError.self, "\(bucket)") { try S3Configuration(bucket: bucket) }
        }
        for prefix in ["/", "a/", "/a", "a//b", "..", "a b", String(repeating: "a", count: 101)] {
            #expect(throws: PerSSDError.self, "\(prefix)") { try S3Configuration(bucket: "bucket", prefix: prefix) }
        }
        for region in ["", "us east", "a/b", "x\n"] {
            #expect(throws: PerSSDError.self, "\(region)") { try S3Configuration(bucket: "bucket", region: region) }
        }
        for endpoint in [
            "", "host", "ftp://host", "http://", "http://host:", "http://host:0", "http://host:65536",
            "http://host:+80",
            "http://user@host", "http://host/path", "http://host?x", "http://[::1", "http://[]", "http://ho st",
            "http://host:80:80", "http://]:80", "http://host\r\nx",
        ] {
            #expect(throws: PerSSDError.self, "\(endpoint)") {
                try S3Configuration(bucket: "bucket", endpoint: endpoint)
            }
        }
        var configuration = try S3Configuration(bucket: "bucket")
        configuration.partSize = 4 << 20
        #expect(throws: PerSSDError.self) { try S3Store(configuration) }
    }

    @Test func endpointsAreReadAsTheyAreMeant() throws {
        for (text, expected) in [
            ("http://127.0.0.1:8333", "http://127.0.0.1:8333"), ("HTTPS://S3.Example.org/", "https://s3.example.org"),
            ("https://host:443", "https://host"), ("http://host:443", "http://host:443"),
            ("http://[::1]:80/", "http://[::1]"), ("http://[fe80::1]:9000", "http://[fe80::1]:9000"),
        ] {
            #expect(try S3EndpointURL(text).description == expected)
        }
        #expect(try S3Configuration(bucket: "b-1").endpoint.description == "https://s3.us-east-1.amazonaws.com")
        #expect(
            try S3Configuration(bucket: "b-1", region: "cn-north-1").endpoint.description
                == "https://s3.cn-north-1.amazonaws.com.cn")
    }
}
