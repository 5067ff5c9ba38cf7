import Errors
import Foundation
import HTTP
import Synchronization
import TestSupport
import Testing

@testable import Persistence

/// Credentials from environment and files.
@Suite struct StaticCredentialsTests {
    private let http = Result { try HTTPClient() }

    private func issue(
        _ source: S3CredentialsSource, _ environment: [String: String] = [:]
    ) async throws -> S3Credentials {
        try await CredentialsCache(
            source.provider(http: http.get(), region: "us-east-1", environment: environment)
        ).current()
    }

    private func write(_ text: String, _ path: String) throws {
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
    }

    @Test func theEnvironmentHoldsThem() async throws {
        let environment = [
            "AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": " secret\n", "AWS_SESSION_TOKEN": "token",
        ]
        let expected = S3Credentials(accessKeyID: "AKID", secretAccessKey: "secret", sessionToken: "token")
        #expect(try await issue(.environment, environment) == expected)
        #expect(try await issue(.automatic, environment) == expected)
        let error = await expectError(.unauthenticated) {
            _ = try await issue(.automatic, ["AWS_ACCESS_KEY_ID": "AKID"])
        }
        #expect("\(error)".contains("lack AWS_SECRET_ACCESS_KEY"), "\(error)")
    }

    @Test func profilesOfASharedFileHoldThem() async throws {
        let directory = try TemporaryDirectory("aws")
        try FileManager.default.createDirectory(atPath: directory + ".aws", withIntermediateDirectories: false)
        let text = """
            # a comment
            [default]
            aws_access_key_id = AKDEFAULT
            aws_secret_access_key=se=cret
            ; another
            [ other ]\r
            AWS_ACCESS_KEY_ID=AKOTHER\r
            aws_secret_access_key = x\r
            aws_session_token = t\r
            [half]
            aws_access_key_id = AKHALF
            """
        try write(text, directory + ".aws/credentials")
        let home = ["HOME": directory.path, "AWS_EC2_METADATA_DISABLED": "true"]
        let standard = S3Credentials(accessKeyID: "AKDEFAULT", secretAccessKey: "se=cret")
        #expect(try await issue(.automatic, home) == standard)
        #expect(try await issue(.sharedFile(path: directory + ".aws/credentials", profile: nil)) == standard)
        let other = try await issue(.automatic, home.merging(["AWS_PROFILE": "other"]) { $1 })
        #expect(other == S3Credentials(accessKeyID: "AKOTHER", secretAccessKey: "x", sessionToken: "t"))
        let file = ["AWS_SHARED_CREDENTIALS_FILE": directory + ".aws/credentials"]
        #expect(try await issue(.sharedFile(path: nil, profile: "default"), file) == standard)
        for (profile, words) in [("none", "no profile 'none'"), ("half", "lack AWS_SECRET_ACCESS_KEY")] {
            let error = await expectError(.unauthenticated) {
                _ = try await issue(.automatic, home.merging(["AWS_PROFILE": profile]) { $1 })
            }
            #expect("\(error)".contains(words), "\(error)")
        }
        await expectError(.unauthenticated) {
            _ = try await issue(.automatic, ["AWS_SHARED_CREDENTIALS_FILE": "/nowhere/credentials"])
        }
    }

    @Test func whereThereAreNoneTheErrorNamesEveryWayThatWasTried() async throws {
        let error = await expectError(.unauthenticated) {
            _ = try await issue(.automatic, ["HOME": "/nowhere", "AWS_EC2_METADATA_DISABLED": "true"])
        }
        for words in [
            "environment (AWS_ACCESS_KEY_ID is not set)", "web identity (AWS_WEB_IDENTITY_TOKEN_FILE is not set)",
            "/nowhere/.aws/credentials", "container service", "AWS_EC2_METADATA_DISABLED is set",
        ] {
            #expect("\(error)".contains(words), "\(error)")
        }
    }

    /// A Secret that is changed while the process runs: the server refuses the old keys, and the new ones are read.
    @Test func mountedFilesAreReadAgainWhenTheirKeysAreRefused() async throws {
        let server = try await SeaweedFS.shared()
        let directory = try TemporaryDirectory("secret")
        var configuration = try await makeConfiguration(on: server)
        configuration.credentials = .directory(directory.path)
        let store = try S3Store(configuration)
        let missing = await expectError(.unauthenticated) { try await store.check() }
        #expect("\(missing)".contains(directory.path), "\(missing)")
        try write("AKOLD\n", directory + "AWS_ACCESS_KEY_ID")
        try write("old\n", directory + "AWS_SECRET_ACCESS_KEY")
        await expectError(.unauthenticated) { try await store.check() }
        try write("\(server.endpoint.accessKey)\n", directory + "AWS_ACCESS_KEY_ID")
        try write("\(server.endpoint.secretKey)\n", directory + "AWS_SECRET_ACCESS_KEY")
        try await store.check()
        #expect(store.statistics.retries == 1)
        #expect(try await store.info(key("none")) == nil)
    }
}

/// Credentials that a service issues for a while. The services of a cloud run nowhere else: the metadata services are
/// played by a small script of the test's own, and the token service by moto.
@Suite struct TemporaryCredentialsTests {
    private struct Service {
        let url: String
        let process: TestProcess
        let directory: TemporaryDirectory
        let http: HTTPClient

        func get(_ path: String) async throws {
            _ = try await http.send(HTTPRequest(.get, url + path))
        }
    }

    private func metadataService() async throws -> Service {
        let directory = try TemporaryDirectory("metadata")
        let port = try freePort()
        let process = try await TestProcess.start(
            PackageRoot.virtualEnvironmentProgram("python3"),
            ["\(PackageRoot.path)/Tests/S3Tests/Scripts/metadata_service.py", "\(port)"], directory: directory)
        try await process.waitUntilReady { await httpStatus(port: port, path: "/-/lifetime/3600") == 200 }
        return Service(
            url: "http://127.0.0.1:\(port)", process: process, directory: directory, http: try HTTPClient())
    }

    private func cache(_ source: S3CredentialsSource, _ service: Service, _ environment: [String: String])
        -> CredentialsCache
    {
        CredentialsCache(source.provider(http: service.http, region: "us-east-1", environment: environment))
    }

    @Test func theInstanceMetadataServiceIssuesThemOnceForAll() async throws {
        let service = try await metadataService()
        let cache = cache(.instanceMetadata, service, ["AWS_EC2_METADATA_SERVICE_ENDPOINT": service.url])
        let all = try await withThrowingTaskGroup(of: S3Credentials.self) { group in
            for _ in 0..<20 { group.addTask { try await cache.current() } }
            return try await group.reduce(into: Set()) { $0.insert($1) }
        }
        #expect(all == [S3Credentials(accessKeyID: "ASIA1", secretAccessKey: "secret", sessionToken: "token1")])
        #expect(try await cache.replacement(for: all.first!)?.accessKeyID == "ASIA2")
        #expect(try await cache.replacement(for: all.first!)?.accessKeyID == "ASIA2")
    }

    @Test func theyLastAsLongAsTheServiceSays() async throws {
        let service = try await metadataService()
        try await service.get("/-/lifetime/1000")
        let environment = ["AWS_EC2_METADATA_SERVICE_ENDPOINT": service.url]
        let issued = try await S3CredentialsSource.instanceMetadata
            .provider(http: service.http, region: "us-east-1", environment: environment).issue()
        let expiry = try #require(issued.expiry)
        #expect((900...1001).contains(expiry.timeIntervalSinceNow))
        #expect(issued.renewal == expiry.addingTimeInterval(-300))
    }

    @Test func theContainerServiceIssuesThemToWhoBearsTheToken() async throws {
        let service = try await metadataService()
        let token = service.directory + "token"
        try Data("let-me-in\n".utf8).write(to: URL(fileURLWithPath: token))
        let environment = ["AWS_CONTAINER_CREDENTIALS_FULL_URI": "\(service.url)/container"]
        let withFile = environment.merging(["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": token]) { $1 }
        #expect(try await cache(.container, service, withFile).current().sessionToken == "token1")
        #expect(try await cache(.automatic, service, withFile).current().sessionToken == "token2")
        await expectError(.unauthenticated) { _ = try await cache(.container, service, environment).current() }
        for url in ["http://example.org/x", "http://127.evil.org/x", "http://10.0.0.1/x", "file:///etc/passwd", "x"] {
            #expect(!ContainerCredentials.isAllowed(url), "\(url)")
        }
        for url in ["https://example.org/x", "http://127.0.0.1:80/x", "http://localhost/x", "http://169.254.170.23/v1"]
        {
            #expect(ContainerCredentials.isAllowed(url), "\(url)")
        }
    }

    @Test func aTokenIsExchangedForARole() async throws {
        let directory = try TemporaryDirectory("sts")
        let port = try freePort()
        let process = try await TestProcess.start(
            PackageRoot.virtualEnvironmentProgram("python3"),
            ["\(PackageRoot.path)/Tests/S3Tests/Scripts/sts_with_moto.py", "\(port)"], directory: directory)
        try await process.waitUntilReady { await httpStatus(port: port) == 200 }
        let token = directory + "token"
        let environment = [
            "AWS_WEB_IDENTITY_TOKEN_FILE": token, "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/perssd",
            "AWS_ENDPOINT_URL_STS": "http://127.0.0.1:\(port)",
        ]
        let http = try HTTPClient()
        func provider(_ environment: [String: String]) -> any CredentialsProvider {
            S3CredentialsSource.webIdentity.provider(http: http, region: "us-east-1", environment: environment)
        }
        await expectError(.unauthenticated) { _ = try await provider(environment).issue() }
        try Data("header.payload+/=.signature\n".utf8).write(to: URL(fileURLWithPath: token))
        let issued = try await provider(environment).issue()
        #expect(!issued.credentials.accessKeyID.isEmpty && issued.credentials.sessionToken?.isEmpty == false)
        let expiry = try #require(issued.expiry)
        let renewal = try #require(issued.renewal)
        #expect(expiry > Date() && renewal < expiry && renewal > Date())
        await expectError(.unauthenticated) {
            _ = try await provider(environment.filter { $0.key != "AWS_ROLE_ARN" }).issue()
        }
    }

    @Test func aServiceThatIsBrokenIsUnavailableAndOneThatIsNotThereIsNamed() async throws {
        let service = try await metadataService()
        try await service.get("/-/break")
        let environment = ["AWS_EC2_METADATA_SERVICE_ENDPOINT": service.url]
        await expectError(.unavailable) { _ = try await cache(.instanceMetadata, service, environment).current() }
        await expectError(.unavailable) {
            let nobody = ["AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:\(try freePort())"]
            _ = try await cache(.instanceMetadata, service, nobody).current()
        }
    }
}

/// When the cache asks its provider: no service needed, only times.
@Suite struct CredentialsCacheTests {
    /// Numbers what it issues.
    private final class Provider: CredentialsProvider {
        struct State {
            var count = 0
            var renewal: Date?
            var expiry: Date?
            var isDown = false
        }
        let state: Mutex<State>
        var name: String { "test" }

        init(renewal: TimeInterval?, expiry: TimeInterval?) {
            state = Mutex(
                State(
                    renewal: renewal.map { Date(timeIntervalSinceNow: $0) },
                    expiry: expiry.map { Date(timeIntervalSinceNow: $0) }))
        }

        func issue() async throws -> IssuedCredentials {
            try state.withLock { state in
                state.count += 1
                if state.isDown { throw PerSSDError(.unavailable, "down") }
                return IssuedCredentials(
                    credentials: S3Credentials(accessKeyID: "AK\(state.count)", secretAccessKey: "s"),
                    renewal: state.renewal, expiry: state.expiry)
            }
        }
    }

    @Test func whatIsFreshIsKeptAndWhatIsDueIsRenewed() async throws {
        let fresh = CredentialsCache(Provider(renewal: 3600, expiry: 7200))
        for _ in 0..<3 { #expect(try await fresh.current().accessKeyID == "AK1") }
        let due = CredentialsCache(Provider(renewal: -1, expiry: 3600))
        for number in 1...3 { #expect(try await due.current().accessKeyID == "AK\(number)") }
        let lasting = CredentialsCache(Provider(renewal: nil, expiry: nil))
        let first = try await lasting.current()
        #expect(try await lasting.replacement(for: first) == nil)
        #expect(try await lasting.current() == first)
    }

    @Test func whileTheServiceIsDownWhatIsHeldServesUntilItExpires() async throws {
        let provider = Provider(renewal: -1, expiry: 3600)
        let cache = CredentialsCache(provider)
        #expect(try await cache.current().accessKeyID == "AK1")
        provider.state.withLock { $0.isDown = true }
        for _ in 0..<5 { #expect(try await cache.current().accessKeyID == "AK1") }
        // Asked once in vain, and then not by every request.
        #expect(provider.state.withLock { $0.count } == 2)

        let expired = Provider(renewal: -2, expiry: -1)
        let late = CredentialsCache(expired)
        _ = try await late.current()
        expired.state.withLock { $0.isDown = true }
        await expectError(.unavailable) { _ = try await late.current() }
    }

    @Test func renewalComesFiveMinutesBeforeTheEndOrHalfWay() {
        let (now, keys) = (Date(), S3Credentials(accessKeyID: "AK", secretAccessKey: "s"))
        func renewal(_ lifetime: TimeInterval) -> TimeInterval? {
            IssuedCredentials.temporary(keys, expiry: now.addingTimeInterval(lifetime), now: now)
                .renewal?.timeIntervalSince(now)
        }
        #expect(renewal(3600) == 3300 && renewal(600) == 300 && renewal(60) == 30 && renewal(-60) == -60)
    }
}
