import Errors
import Identities
import RPC
import Testing

@Suite struct TLSTests {
    /// A server that lets in only the test's client.
    private static func mutual() throws -> RPCServer.Options {
        let server = try TestIdentity.server.get()
        var options = RPCServer.Options()
        options.tls = RPCServerTLS(
            certificateChain: server.certificate, privateKey: server.privateKey,
            clients: .trusted(roots: try TestIdentity.client.get().certificate))
        return options
    }

    private static func client(
        trusting root: TLSIdentity, as identity: TLSIdentity?, expecting name: String? = "node-a"
    ) -> RPCClient.Options {
        var options = RPCClient.Options()
        options.tls = RPCClientTLS(roots: root.certificate, identity: identity?.asClient, serverName: name)
        return options
    }

    /// What a client with these options is answered.
    private func code(_ address: RPCAddress, _ options: RPCClient.Options) async throws -> RPCStatus.Code {
        let client = try RPCClient(address, options: options)
        let status = try await client.failure("Echo", "x", .init(timeout: .seconds(60)))
        await client.close()
        return status?.code ?? .ok
    }

    @Test func bothSidesProveWhoTheyAre() async throws {
        let (server, client) = (try TestIdentity.server.get(), try TestIdentity.client.get())
        try await withServer(
            .tcp, options: try Self.mutual(), clientOptions: Self.client(trusting: server, as: client)
        ) { fixture async throws in
            let big = [UInt8](repeating: 5, count: 2 << 20)
            #expect(try await fixture.client.unary("/test.Service/Echo", big, options: .init()) == big)
            #expect(try await fixture.client.collect("Count", "100").count == 100)
            #expect(try await fixture.client.failure("Fail")?.details == TestService.details)
        }
    }

    @Test func whoCannotProveItIsRefused() async throws {
        let (server, client) = (try TestIdentity.server.get(), try TestIdentity.client.get())
        let stranger = try TestIdentity.stranger.get()
        try await withServer(.tcp, options: try Self.mutual()) { fixture async throws in
            let address = fixture.address
            #expect(try await code(address, Self.client(trusting: server, as: client)) == .ok)
            // No certificate, one of the right name but another key, and no TLS at all.
            #expect(try await code(address, Self.client(trusting: server, as: nil)) == .unavailable)
            #expect(try await code(address, Self.client(trusting: server, as: stranger)) == .unavailable)
            #expect(try await code(address, .init()) == .unavailable)
            // A client that does not trust the server, or expects another.
            #expect(try await code(address, Self.client(trusting: stranger, as: client)) == .unavailable)
            let other = Self.client(trusting: server, as: client, expecting: "node-b")
            #expect(try await code(address, other) == .unavailable)
            #expect(try await code(address, Self.client(trusting: server, as: client, expecting: nil)) == .unavailable)
            #expect(fixture.journal.events == [])
        }
    }

    @Test func aHandlerMayDecideByTheCertificate() async throws {
        let (server, client) = (try TestIdentity.server.get(), try TestIdentity.client.get())
        let stranger = try TestIdentity.stranger.get()
        var options = try Self.mutual()
        options.tls?.clients = .anyCertificate
        try await withServer(.tcp, options: options) { fixture async throws in
            for identity in [client, stranger] {
                let one = try RPCClient(fixture.address, options: Self.client(trusting: server, as: identity))
                #expect(
                    try await one.unary("/test.Service/Certificate", [], options: .init(timeout: .seconds(60)))
                        == identity.certificate)
                await one.close()
            }
            // Whoever shows none is not let in.
            #expect(try await code(fixture.address, Self.client(trusting: server, as: nil)) == .unavailable)
        }
    }

    @Test func aCertificateIsGoodForItsTimeAlone() async throws {
        let client = try TestIdentity.client.get()
        let expired = try TLSIdentity(name: "node-a", lifetime: .seconds(-60))
        var options = RPCServer.Options()
        options.tls = RPCServerTLS(
            certificateChain: expired.certificate, privateKey: expired.privateKey, clients: .anyCertificate)
        try await withServer(.tcp, options: options) { fixture async throws in
            #expect(try await code(fixture.address, Self.client(trusting: expired, as: client)) == .unavailable)
        }
    }

    @Test func aServerMayLetAnybodyIn() async throws {
        let server = try TestIdentity.server.get()
        var options = RPCServer.Options()
        options.tls = RPCServerTLS(
            certificateChain: server.certificate, privateKey: server.privateKey, clients: .anybody)
        try await withServer(.tcp, options: options) { fixture async throws in
            #expect(try await code(fixture.address, Self.client(trusting: server, as: nil)) == .ok)
        }
    }

    @Test func aClientThatWantsTLSDoesNotTalkPlainText() async throws {
        let server = try TestIdentity.server.get()
        try await withServer(.tcp) { fixture async throws in
            #expect(try await code(fixture.address, Self.client(trusting: server, as: nil)) == .unavailable)
        }
    }

    @Test func theUnixSocketBesideTLSSpeaksPlainText() async throws {
        try await withServer(.unix, options: try Self.mutual()) { fixture async throws in
            #expect(try await fixture.client.call("Echo", "x") == "x")
        }
    }

    @Test func partsThatAreNotUsableAreRefused() async throws {
        let (server, client) = (try TestIdentity.server.get(), try TestIdentity.client.get())
        let garbage = Array("-----BEGIN CERTIFICATE-----\nnope\n-----END CERTIFICATE-----\n".utf8)
        let address = RPCAddress.tcp(host: "127.0.0.1", port: 0)
        for (chain, key) in [
            (garbage, server.privateKey), (server.certificate, garbage), (server.certificate, client.privateKey),
            ([], []),
        ] {
            var options = RPCServer.Options()
            options.tls = RPCServerTLS(certificateChain: chain, privateKey: key, clients: .anybody)
            let error = await #expect(throws: PerSSDError.self) {
                try await RPCServer([], options: options).listen(on: address)
            }
            #expect(error?.code == .invalidArgument)
            #expect(error?.message.contains("TLS") == true)
        }
        for (roots, identity) in [
            ([], nil), (garbage, nil), (server.certificate + garbage, nil),
            (server.certificate, (garbage, client.privateKey)),
            (server.certificate, (client.certificate, server.privateKey)),
        ] as [([UInt8], ([UInt8], [UInt8])?)] {
            var options = RPCClient.Options()
            options.tls = RPCClientTLS(
                roots: roots, identity: identity.map { .init(certificateChain: $0.0, privateKey: $0.1) })
            let error = #expect(throws: PerSSDError.self) { try RPCClient(address, options: options) }
            #expect(error?.code == .invalidArgument)
        }
        let onUnix = #expect(throws: PerSSDError.self) {
            try RPCClient(.unix(path: "/run/s"), options: Self.client(trusting: server, as: nil))
        }
        #expect(onUnix?.code == .invalidArgument)
    }
}
