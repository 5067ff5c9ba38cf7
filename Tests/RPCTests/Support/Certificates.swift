import Foundation
import RPC
import Testing

/// A key and a certificate signed with it, as the processes make them for themselves.
struct TestIdentity: Sendable {
    let certificate: [UInt8]
    let key: [UInt8]

    var asClient: RPCClientTLS.Identity { .init(certificateChain: certificate, privateKey: key) }

    /// Made once and used by all tests of a run.
    static let server = Result { try make("node-a") }
    static let client = Result { try make("controller") }
    static let stranger = Result { try make("controller") }

    private static func make(_ name: String) throws -> TestIdentity {
        let directory = FileManager.default.temporaryDirectory.appendingPathComponent("rpc-test-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(at: directory) }
        let openssl = Process()
        openssl.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        openssl.currentDirectoryURL = directory
        openssl.standardError = FileHandle.nullDevice
        openssl.arguments = [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
            "2",
            "-keyout", "key", "-out", "certificate", "-subj", "/CN=\(name)", "-addext", "subjectAltName=DNS:\(name)",
        ]
        try openssl.run()
        openssl.waitUntilExit()
        try #require(
            openssl.terminationStatus == 0, "the openssl command is missing or failed: install package openssl")
        return TestIdentity(
            certificate: Array(try Data(contentsOf: directory.appendingPathComponent("certificate"))),
            key: Array(try Data(contentsOf: directory.appendingPathComponent("key"))))
    }
}
