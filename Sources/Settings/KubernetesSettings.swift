import ArgumentParser
import Errors

/// What the processes ask of the API server of Kubernetes, and where it is.
public struct KubernetesSettings: Sendable, Equatable {
    public enum Events: String, Sendable, CaseIterable {
        /// Posted where the process has what is needed for that.
        case auto
        case off
    }

    /// Whether events about volumes are posted to their pods and claims.
    public var events = Events.auto
    /// "https://host:port"; nil for the server that Kubernetes tells each container of.
    public var apiServer: String?
    /// The token that is sent along, an absolute path; nil for that of the pod's service account.
    public var tokenFile: String?
    /// A PEM file, an absolute path; nil for that of the pod's service account, or, where the server is named, the system's.
    public var certificateAuthorities: String?

    /// - Throws: `invalidArgument` that says which setting, where it was given, and what to give.
    init(_ values: [Setting: Given]) throws {
        events = try values[.events]?.choice(Events.allCases) ?? .auto
        apiServer = try values[.kubernetesAPIServer].map { try Self.address($0) }
        tokenFile = try values[.kubernetesTokenFile]?.absolutePath()
        certificateAuthorities = try values[.kubernetesCertificateAuthorities]?.absolutePath()
    }

    /// TLS only, as a token goes over it.
    private static func address(_ given: Given) throws -> String {
        let host = given.text.hasPrefix("https://") ? given.text.dropFirst(8) : ""
        guard !host.isEmpty, host.utf8.allSatisfy({ (0x21...0x7e).contains($0) && !"/?#@".utf8.contains($0) }) else {
            throw PerSSDError(
                .invalidArgument, "\(given.source): '\(given.text.prefix(100))' is no address of an API server",
                remedy: "give one such as https://10.96.0.1:443")
        }
        return given.text
    }
}

/// The options of that, for the processes that have it.
struct KubernetesOptions: ParsableArguments, Sendable {
    @Option(
        help: ArgumentHelp(
            "Whether events about volumes are posted to their pods and claims: auto, where that is possible (the default), or off.",
            discussion: "Environment: PERSSD_EVENTS.", valueName: "when"))
    var events: String?

    @Option(
        name: .customLong("kubernetes-api-server"),
        help: ArgumentHelp(
            "The API server, such as https://10.96.0.1:443 (default: as Kubernetes tells each container).",
            discussion: "Environment: PERSSD_KUBERNETES_API_SERVER.", valueName: "url"))
    var kubernetesAPIServer: String?

    @Option(
        help: ArgumentHelp(
            "The file of the token for the API server (default: that of the pod's service account).",
            discussion: "Environment: PERSSD_KUBERNETES_TOKEN_FILE.", valueName: "file"),
        completion: .file())
    var kubernetesTokenFile: String?

    @Option(
        help: ArgumentHelp(
            "A PEM file of the authorities of the API server's certificate (default: that of the pod's service account).",
            discussion: "Environment: PERSSD_KUBERNETES_CERTIFICATE_AUTHORITIES.", valueName: "file"),
        completion: .file())
    var kubernetesCertificateAuthorities: String?

    var values: [Setting: String?] {
        [
            .events: events, .kubernetesAPIServer: kubernetesAPIServer, .kubernetesTokenFile: kubernetesTokenFile,
            .kubernetesCertificateAuthorities: kubernetesCertificateAuthorities,
        ]
    }
}
