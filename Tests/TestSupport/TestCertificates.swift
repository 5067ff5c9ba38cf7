import Foundation

/// An authority of the test's own and a certificate that it signed, made by the openssl command.
public struct TestCertificates: Sendable {
    public let authority: String
    public let certificate: String
    public let key: String
    private let directory: TemporaryDirectory

    /// - Parameter name: for whom it is: "IP:127.0.0.1", "DNS:elsewhere.example".
    public init(for name: String) async throws {
        directory = try TemporaryDirectory("tls")
        (authority, certificate, key) = (directory + "ca.pem", directory + "server.pem", directory + "server.key")
        let openssl = try PackageRoot.systemProgram("openssl", package: "openssl")
        let newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        try await TestCommand.run(
            openssl,
            ["req", "-x509", "-days", "2", "-subj", "/CN=test authority", "-keyout", directory + "ca.key"] + newKey
                + ["-out", authority, "-addext", "basicConstraints=critical,CA:TRUE"])
        try await TestCommand.run(
            openssl, ["req", "-subj", "/CN=test", "-keyout", key, "-out", directory + "server.csr"] + newKey)
        try Data("subjectAltName=\(name)\n".utf8).write(to: URL(fileURLWithPath: directory + "names"))
        try await TestCommand.run(
            openssl,
            [
                "x509", "-req", "-days", "2", "-in", directory + "server.csr", "-CA", authority, "-CAkey",
                directory + "ca.key", "-CAcreateserial", "-extfile", directory + "names", "-out", certificate,
            ])
    }
}
