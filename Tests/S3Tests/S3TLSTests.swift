import Errors
import Foundation
import Persistence
import TestSupport
import Testing

/// TLS ends at the proxy; behind it is the real server.
@Suite struct S3TLSTests {
    @Test func aCertificateOfATrustedAuthorityVerifies() async throws {
        let server = try await SeaweedFS.shared()
        let certificates = try await TestCertificates(for: "IP:127.0.0.1")
        let proxy = try await FaultyProxy(
            before: server, certificate: (certificates.certificate, certificates.key),
            authorities: certificates.authority)
        let store = try await makeStore(on: server, endpoint: proxy.url) {
            $0.certificateAuthorities = certificates.authority
        }
        let bytes = someBytes(2_000_000)
        _ = try await store.write(key("a"), bytes, condition: .absent)
        #expect(try await store.read(key("a"))?.bytes == bytes)
        #expect(store.location.contains("https://127.0.0.1"))

        let distrustful = try await makeStore(on: server, endpoint: proxy.url)
        let error = await expectError(.failedPrecondition) { try await distrustful.check() }
        #expect("\(error)".contains("certificate does not verify") && "\(error)".contains("CA bundle"), "\(error)")
        // Nothing was sent, and nothing is tried again.
        #expect(distrustful.statistics.retries == 0)

        let others = try await TestCertificates(for: "IP:127.0.0.1")
        let mistaken = try await makeStore(on: server, endpoint: proxy.url) {
            $0.certificateAuthorities = others.authority
        }
        let second = await expectError(.failedPrecondition) { try await mistaken.check() }
        #expect("\(second)".contains(others.authority), "\(second)")
    }

    @Test func aCertificateForAnotherHostDoesNot() async throws {
        let server = try await SeaweedFS.shared()
        let certificates = try await TestCertificates(for: "DNS:elsewhere.example")
        let port = try freePort()
        let directory = try TemporaryDirectory("tls-server")
        let openssl = try PackageRoot.systemProgram("openssl", package: "openssl")
        let process = try await TestProcess.start(
            openssl,
            [
                "s_server", "-accept", "127.0.0.1:\(port)", "-cert", certificates.certificate, "-key", certificates.key,
                "-www",
            ],
            directory: directory)
        try await process.waitUntilReady { process.output.contains("ACCEPT") }
        let store = try await makeStore(on: server, endpoint: "https://127.0.0.1:\(port)") {
            $0.certificateAuthorities = certificates.authority
        }
        let error = await expectError(.failedPrecondition) { try await store.check() }
        #expect("\(error)".contains("certificate does not verify") && "\(error)".contains("127.0.0.1"), "\(error)")
    }

    @Test func aFileOfAuthoritiesThatCannotBeUsedIsNamed() async throws {
        var configuration = try await makeConfiguration(on: SeaweedFS.shared())
        configuration.certificateAuthorities = "/nowhere/ca.pem"
        let missing = configuration
        await expectError(.failedPrecondition) { _ = try S3Store(missing) }
        let directory = try TemporaryDirectory("ca")
        try Data("not a certificate".utf8).write(to: URL(fileURLWithPath: directory + "ca.pem"))
        configuration.certificateAuthorities = directory + "ca.pem"
        let certificates = try await TestCertificates(for: "IP:127.0.0.1")
        let proxy = try await FaultyProxy(
            before: SeaweedFS.shared(), certificate: (certificates.certificate, certificates.key),
            authorities: certificates.authority)
        configuration.endpoint = try S3EndpointURL(proxy.url)
        let store = try S3Store(configuration)
        let error = await expectError(.failedPrecondition) { try await store.check() }
        #expect("\(error)".contains("ca.pem"), "\(error)")
    }
}
