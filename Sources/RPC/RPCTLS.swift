import CGRPC
import Errors

/// Who a server proves to be on TCP, and whom it lets in. All parts are PEM.
public struct RPCServerTLS: Sendable {
    /// The server's certificate, then those that lead to a root.
    public var certificateChain: [UInt8]
    public var privateKey: [UInt8]
    public var clients: Clients

    public enum Clients: Sendable, Equatable {
        case anybody
        /// Those with a certificate that leads to one of these roots.
        case trusted(roots: [UInt8])
        /// Those with any certificate, and its key; a method's handler finds it in its context, and decides.
        case anyCertificate
    }

    public init(certificateChain: [UInt8], privateKey: [UInt8], clients: Clients) {
        (self.certificateChain, self.privateKey, self.clients) = (certificateChain, privateKey, clients)
    }
}

/// Whom a client trusts on TCP, and who it proves to be. All parts are PEM.
public struct RPCClientTLS: Sendable {
    /// The server's certificate must lead to one of these.
    public var roots: [UInt8]
    /// The client's own certificate chain and key, for servers that ask for them.
    public var identity: Identity?
    /// The name that the server's certificate must bear; nil for the host that is connected to.
    public var serverName: String?

    public struct Identity: Sendable {
        public var certificateChain: [UInt8]
        public var privateKey: [UInt8]

        public init(certificateChain: [UInt8], privateKey: [UInt8]) {
            (self.certificateChain, self.privateKey) = (certificateChain, privateKey)
        }
    }

    public init(roots: [UInt8], identity: Identity? = nil, serverName: String? = nil) {
        (self.roots, self.identity, self.serverName) = (roots, identity, serverName)
    }
}

// MARK: - Lending to C

extension RPCServerTLS {
    /// - Throws: `PerSSDError` (invalidArgument) where a part is not usable.
    func check() throws(PerSSDError) {
        guard !certificateChain.isEmpty, !privateKey.isEmpty else {
            throw unusable("a server needs a certificate and its key")
        }
        if clients == .trusted(roots: []) { throw unusable("the list of the clients' roots is empty") }
        if let problem = withCParts({ cgrpc_tls_problem(&$0).map { String(cString: $0) } }) { throw unusable(problem) }
    }

    func withCParts<Result>(_ body: (inout cgrpc_tls) throws -> Result) rethrows -> Result {
        var roots: [UInt8] = []
        if case .trusted(let clientRoots) = clients { roots = clientRoots }
        return try withParts(roots, certificateChain, privateKey, "", anyClient: clients == .anyCertificate, body)
    }
}

extension RPCClientTLS {
    /// - Throws: `PerSSDError` (invalidArgument) where a part is not usable.
    func check() throws(PerSSDError) {
        // gRPC would trust the system's list instead.
        guard !roots.isEmpty else { throw unusable("there are no roots to trust") }
        if let problem = withCParts({ cgrpc_tls_problem(&$0).map { String(cString: $0) } }) { throw unusable(problem) }
    }

    func withCParts<Result>(_ body: (inout cgrpc_tls) throws -> Result) rethrows -> Result {
        try withParts(roots, identity?.certificateChain ?? [], identity?.privateKey ?? [], serverName ?? "", body)
    }
}

private func unusable(_ problem: String) -> PerSSDError {
    PerSSDError(
        .invalidArgument, "TLS is not possible: \(problem)",
        remedy: "give all parts in PEM, with the key that belongs to the first certificate")
}

private func withParts<Result>(
    _ roots: [UInt8], _ chain: [UInt8], _ key: [UInt8], _ name: String, anyClient: Bool = false,
    _ body: (inout cgrpc_tls) throws -> Result
) rethrows -> Result {
    try roots.withCBytes { roots in
        try chain.withCBytes { chain in
            try key.withCBytes { key in
                try name.withCBytes { name in
                    var parts = cgrpc_tls(
                        roots: roots, certificate_chain: chain, private_key: key, server_name: name,
                        any_client: anyClient)
                    return try body(&parts)
                }
            }
        }
    }
}
