import Errors
import Foundation

/// Where the API server of Kubernetes is, and how to prove who asks.
public struct APIServer: Sendable, Hashable {
    /// "https://10.96.0.1:443", without a slash at its end.
    public var url: String
    /// A bearer token, which is read again for each request: kubelet exchanges it while the process runs.
    public var tokenFile: String
    /// A PEM file of the authorities that may have signed the server's certificate; nil for the system's.
    public var certificateAuthorities: String?

    public init(url: String, tokenFile: String, certificateAuthorities: String?) {
        (self.url, self.tokenFile, self.certificateAuthorities) = (url, tokenFile, certificateAuthorities)
    }

    /// Where kubelet puts what a pod's service account needs.
    static let accountDirectory = "/var/run/secrets/kubernetes.io/serviceaccount"

    /// The server that Kubernetes tells each container of, with what is given instead.
    ///
    /// - Throws: `notFound` where nobody tells of a server.
    public static func find(
        url: String? = nil, tokenFile: String? = nil, certificateAuthorities: String? = nil,
        environment: [String: String] = ProcessInfo.processInfo.environment
    ) throws -> APIServer {
        guard let found = url ?? self.url(in: environment) else {
            throw PerSSDError(
                .notFound, "no API server of Kubernetes is known, as this process runs outside of a cluster",
                remedy: "name one with --kubernetes-api-server, where events are wanted")
        }
        // A server by name, as behind a proxy, may have a certificate that everybody knows.
        let authorities = certificateAuthorities ?? (url == nil ? "\(accountDirectory)/ca.crt" : nil)
        return APIServer(
            url: found, tokenFile: tokenFile ?? "\(accountDirectory)/token", certificateAuthorities: authorities)
    }

    private static func url(in environment: [String: String]) -> String? {
        guard let host = environment["KUBERNETES_SERVICE_HOST"], !host.isEmpty,
            let port = environment["KUBERNETES_SERVICE_PORT"], !port.isEmpty
        else { return nil }
        return "https://\(host.contains(":") ? "[\(host)]" : host):\(port)"
    }
}
