import Identities
import RPC

extension TLSIdentity {
    var asClient: RPCClientTLS.Identity { .init(certificateChain: certificate, privateKey: privateKey) }
}

/// Made once and used by all tests of a run.
enum TestIdentity {
    static let server = Result { try make("node-a") }
    static let client = Result { try make("controller") }
    /// Of the same name, with another key.
    static let stranger = Result { try make("controller") }

    private static func make(_ name: String) throws -> TLSIdentity {
        try TLSIdentity(name: name, lifetime: .seconds(86400))
    }
}
