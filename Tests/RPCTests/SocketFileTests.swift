import Errors
import Foundation
import RPC
import Testing

@Suite struct SocketFileTests {
    @Test func aSocketHasItsModeAndIsAloneInItsDirectoryAndGoesWithTheServer() async throws {
        try await withTemporaryDirectory { directory async throws in
            var options = RPCServer.Options()
            options.socketMode = 0o600
            let server = RPCServer(TestService.methods(), options: options)
            let path = directory + "/made/csi.sock"
            try await server.listen(on: RPCAddress(path))
            let attributes = try FileManager.default.attributesOfItem(atPath: path)
            #expect(attributes[.posixPermissions] as? Int == 0o600)
            let parent = try FileManager.default.attributesOfItem(atPath: directory + "/made")
            #expect(parent[.posixPermissions] as? Int == 0o750)
            #expect(try FileManager.default.contentsOfDirectory(atPath: directory + "/made") == ["csi.sock"])
            await server.shutdown(gracePeriod: .zero)
            #expect(try FileManager.default.contentsOfDirectory(atPath: directory + "/made") == [])
        }
    }

    @Test(arguments: ["a b", "100%41", "q?x#y", "größe日本", "'\"$(x)`;\\"])
    func anyNameWillDo(name: String) async throws {
        try await withTemporaryDirectory { directory async throws in
            let server = RPCServer(TestService.methods())
            let path = "\(directory)/\(name)/\(name)"
            let address = try await server.listen(on: RPCAddress("unix://" + path))
            #expect(try FileManager.default.contentsOfDirectory(atPath: "\(directory)/\(name)") == [name])
            let client = try RPCClient(address)
            #expect(try await client.call("Echo", "x") == "x")
            await client.close()
            await server.shutdown(gracePeriod: .zero)
        }
    }

    @Test func aStaleSocketIsReplaced() async throws {
        try await withTemporaryDirectory { directory async throws in
            let path = directory + "/s"
            try leaveStaleSocket(at: path)
            let server = RPCServer(TestService.methods())
            let client = try RPCClient(try await server.listen(on: .unix(path: path)))
            #expect(try await client.call("Echo", "x") == "x")
            await client.close()
            await server.shutdown(gracePeriod: .zero)
        }
    }

    @Test func aLiveSocketIsRefusedAndGoesOnServing() async throws {
        try await withServer { fixture async throws in
            let second = RPCServer(TestService.methods())
            let error = await #expect(throws: PerSSDError.self) { try await second.listen(on: fixture.address) }
            #expect(error?.code == .alreadyExists)
            #expect(error?.message.contains(fixture.directory + "/s.sock") == true)
            #expect(try await fixture.client.call("Echo", "x") == "x")
            #expect(try FileManager.default.contentsOfDirectory(atPath: fixture.directory) == ["s.sock"])
        }
    }

    @Test func ofServersThatStartAtTheSameTimeOneWins() async throws {
        try await withTemporaryDirectory { directory async throws in
            let path = directory + "/s"
            for _ in 0..<10 {
                try leaveStaleSocket(at: path)
                let servers = (0..<4).map { _ in RPCServer(TestService.methods()) }
                let outcomes = await withTaskGroup(of: Bool.self) { group in
                    for server in servers {
                        group.addTask { (try? await server.listen(on: .unix(path: path))) != nil }
                    }
                    return await group.reduce(into: []) { $0.append($1) }
                }
                #expect(outcomes.count { $0 } == 1)
                let client = try RPCClient(.unix(path: path))
                #expect(try await client.call("Echo", "x") == "x")
                await client.close()
                for server in servers { await server.shutdown(gracePeriod: .zero) }
                #expect(try FileManager.default.contentsOfDirectory(atPath: directory) == [])
            }
        }
    }

    @Test func whatIsNoSocketIsLeftAlone() async throws {
        try await withTemporaryDirectory { directory async throws in
            let file = directory + "/file"
            try Data("precious".utf8).write(to: URL(fileURLWithPath: file))
            let link = directory + "/link"
            try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: file)
            try FileManager.default.createDirectory(atPath: directory + "/dir", withIntermediateDirectories: false)
            for name in ["file", "link", "dir"] {
                let server = RPCServer(TestService.methods())
                let error = await #expect(throws: PerSSDError.self) {
                    try await server.listen(on: .unix(path: "\(directory)/\(name)"))
                }
                #expect(error?.code == .alreadyExists)
            }
            #expect(try Data(contentsOf: URL(fileURLWithPath: file)) == Data("precious".utf8))
            #expect(Set(try FileManager.default.contentsOfDirectory(atPath: directory)) == ["file", "link", "dir"])
        }
    }

    @Test func aSocketThatSomebodyElsePutThereStaysAtTheStop() async throws {
        try await withTemporaryDirectory { directory async throws in
            let path = directory + "/s"
            let server = RPCServer(TestService.methods())
            try await server.listen(on: .unix(path: path))
            try leaveStaleSocket(at: path)
            await server.shutdown(gracePeriod: .zero)
            #expect(FileManager.default.fileExists(atPath: path))
        }
    }

    @Test func aPathWithoutADirectoryOrTooLongIsRefused() async throws {
        try await withTemporaryDirectory { directory async throws in
            let deep = await #expect(throws: PerSSDError.self) {
                try await RPCServer([]).listen(on: .unix(path: directory + "/a/b/s"))
            }
            #expect(deep?.message.contains(directory + "/a/b/s") == true)
            let long = directory + "/" + String(repeating: "x", count: 80) + "/s"
            let error = await #expect(throws: PerSSDError.self) { try await RPCServer([]).listen(on: RPCAddress(long)) }
            #expect(error?.message.contains("too long") == true)
            #expect(try FileManager.default.contentsOfDirectory(atPath: directory) == [])
        }
    }

    @Test func aPortThatIsTakenIsRefusedAndTheSocketBesideItWithdrawn() async throws {
        try await withServer(.tcp) { fixture async throws in
            let server = RPCServer(TestService.methods())
            let path = fixture.directory + "/s"
            let error = await #expect(throws: PerSSDError.self) {
                try await server.listen(on: [.unix(path: path), fixture.address])
            }
            #expect(error?.code == .unavailable)
            #expect(error?.message.contains("in use") == true, "\(String(describing: error))")
            #expect(try FileManager.default.contentsOfDirectory(atPath: fixture.directory) == [])
            // It may be tried again on other addresses.
            try await server.listen(on: .unix(path: path))
            await server.shutdown(gracePeriod: .zero)
        }
    }

    @Test func oneServerListensOnSeveralAddresses() async throws {
        try await withTemporaryDirectory { directory async throws in
            let server = RPCServer(TestService.methods())
            let wanted: [RPCAddress] = [
                .unix(path: directory + "/a"), .tcp(host: "127.0.0.1", port: 0), .unix(path: directory + "/b"),
            ]
            for address in try await server.listen(on: wanted) {
                let client = try RPCClient(address)
                #expect(try await client.call("Echo", "x") == "x")
                await client.close()
            }
            await server.shutdown(gracePeriod: .zero)
            #expect(try FileManager.default.contentsOfDirectory(atPath: directory) == [])
        }
    }

    @Test(arguments: ["no-such-host.invalid", "203.0.113.7"])
    func aHostThatIsNotThisMachineIsRefused(host: String) async throws {
        let error = await #expect(throws: PerSSDError.self) {
            try await RPCServer([]).listen(on: .tcp(host: host, port: 0))
        }
        #expect(error?.message.contains(host) == true)
    }

    @Test func methodsGivenTwiceAndNoAddressAreRefused() async throws {
        let method = RPCMethod("/a/b", .unary { request, _ in request })
        await #expect(throws: PerSSDError.self) {
            try await RPCServer([method, method]).listen(on: .tcp(host: "127.0.0.1", port: 0))
        }
        await #expect(throws: PerSSDError.self) { try await RPCServer([method]).listen(on: []) }
    }

    /// As a server that was killed leaves it, in place of whatever is there.
    private func leaveStaleSocket(at path: String) throws {
        unlink(path)
        let socket = try RawSocket.unix()
        try socket.bind(path)
        socket.close()
    }
}
