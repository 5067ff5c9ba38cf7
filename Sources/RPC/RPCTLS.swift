/// Who a server proves to be on TCP, and whom it lets in. All parts are PEM.
public struct RPCServerTLS: Sendable {
    /// The server's certificate, then those that lead to a root.
    public var certificateChain: [UInt8]
    public var privateKey: [UInt8]
    /// Clients must show a certificate that leads to one of these; nil lets anybody in.
    public var clientRoots: [UInt8]?

    public init(certificateChain: [UInt8], privateKey: [UInt8], clientRoots: [UInt8]?) {
        (self.certificateChain, self.privateKey, self.clientRoots) = (certificateChain, privateKey, clientRoots)
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
