import CatalogTestSupport
import Errors
import Foundation
import Identities
import Logging
import Persistence
import RPC
import Synchronization
import Testing

@testable import Agents

/// A node's agent and a controller on one store.
private final class Bench: Sendable {
    let store = MemoryStore()
    let clock = TestClock()
    let delivered = Mutex<[SnapshotID]>([])
    let reread = Mutex<[VolumeID]>([])
    let handedOver = Mutex<[VolumeID]>([])
    let steps = Mutex<[String]>([])
    let failure = Mutex<PerSSDError?>(nil)
    let node: NodeReference
    let snapshot = SnapshotID(name: "one")
    let logger = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })

    var catalog: Catalog { Catalog(store: store, now: { [clock] in clock.now }) }

    init() throws { node = try NodeReference(cluster: "c", node: "a") }

    /// Starts an agent and writes the node's record.
    func startNode() async throws -> (server: Task<Void, Never>, agent: NodeRecord.Agent) {
        let server = try AgentServer(
            catalog: catalog, cluster: "c", listen: .tcp(host: "127.0.0.1", port: 0), logger: logger,
            duties: NodeDuties(
                deliver: { [self] snapshot, _ in
                    if let failure = failure.withLock({ $0 }) { throw failure }
                    delivered.withLock { $0.append(snapshot) }
                },
                reread: { [self] volume, _ in reread.withLock { $0.append(volume) } },
                handOver: { [self] volume, _ in handedOver.withLock { $0.append(volume) } },
                cutGroup: { [self] step, group, incarnation, _ in
                    steps.withLock { $0.append("\(step) \(group) \(incarnation)") }
                }))
        let agent = try await server.start(published: nil)
        try await register(agent)
        return (Task { await server.run(gracePeriod: .zero) }, agent)
    }

    func register(_ agent: NodeRecord.Agent?) async throws {
        try await catalog.save(
            NodeRecord(
                node: node, pools: [], startedAt: catalog.time, seenAt: catalog.time, interval: 30, agent: agent))
    }

    func controller() async throws -> (clients: AgentClients, presence: ControllerPresence) {
        let clients = try AgentClients(catalog: catalog)
        let presence = ControllerPresence(
            catalog: catalog, cluster: "c", certificate: clients.certificate, logger: logger)
        try await presence.start()
        return (clients, presence)
    }

    func failure(_ clients: AgentClients, to node: NodeReference? = nil) async -> PerSSDError? {
        do {
            try await clients.deliver(snapshot, on: node ?? self.node, until: .now + .seconds(10))
            return nil
        } catch { return error as? PerSSDError }
    }
}

@Suite struct ControllerPresenceTests {
    @Test func aStoreThatDoesNotAnswerHoldsUpNoEnd() async throws {
        let bench = try Bench()
        let presence = ControllerPresence(
            catalog: bench.catalog, cluster: "c", certificate: "none", farewell: .milliseconds(50), logger: bench.logger
        )
        try await presence.start()
        #expect(try await bench.catalog.controllers(of: "c").count == 1)
        // As a connection that was accepted, and on which nothing comes.
        bench.store.intervene(before: { _ in try await Task.sleep(for: .seconds(3600)) })
        let running = Task { await presence.run() }
        running.cancel()
        await running.value
        bench.store.intervene()
        #expect(try await bench.catalog.controllers(of: "c").count == 1)
    }

    @Test func theRecordGoesWithTheProcess() async throws {
        let bench = try Bench()
        let (_, presence) = try await bench.controller()
        let running = Task { await presence.run() }
        running.cancel()
        await running.value
        #expect(try await bench.catalog.controllers(of: "c").isEmpty)
    }
}

@Suite struct AgentTests {
    @Test func aControllerReachesANodeByWhatBothHavePublished() async throws {
        let bench = try Bench()
        let (server, _) = try await bench.startNode()
        let (clients, _) = try await bench.controller()
        for _ in 0..<3 { try await clients.deliver(bench.snapshot, on: bench.node, until: nil) }
        #expect(bench.delivered.withLock { $0 } == [bench.snapshot, bench.snapshot, bench.snapshot])
        let volume = VolumeID(name: "volume")
        try await clients.reread(volume, on: bench.node, until: nil)
        #expect(bench.reread.withLock { $0 } == [volume])
        #expect(bench.handedOver.withLock { $0 }.isEmpty)
        let wanted = VolumeID(name: "wanted")
        try await clients.handOver(wanted, on: bench.node, until: nil)
        #expect(bench.handedOver.withLock { $0 } == [wanted])
        #expect(bench.reread.withLock { $0 } == [volume])
        let (group, incarnation) = (GroupSnapshotID(name: "group"), Incarnation())
        for step in [GroupCutStep.prepare, .hold, .release, .abandon, .confirm] {
            try await clients.cut(step, of: group, incarnation, on: bench.node, until: nil)
        }
        #expect(
            bench.steps.withLock { $0 }
                == ["prepare", "hold", "release", "abandon", "confirm"].map { "\($0) \(group) \(incarnation)" })
        // What the node says comes through, with who said it.
        bench.failure.withLock { $0 = PerSSDError(.failedPrecondition, "the pool cannot share blocks") }
        let error = await bench.failure(clients)
        #expect(error?.code == .failedPrecondition)
        #expect(error?.message.contains("c/a") == true && error?.message.contains("cannot share blocks") == true)
        server.cancel()
        await server.value
    }

    @Test func aStrangerChangesAndLearnsNothing() async throws {
        let bench = try Bench()
        let (server, agent) = try await bench.startNode()
        // A key and a certificate like a controller's, which nobody has published.
        let stranger = try AgentClients(catalog: bench.catalog)
        let refused = await bench.failure(stranger)
        #expect(refused?.code == .unavailable && refused?.message.contains("PERMISSION_DENIED") == true)
        // No certificate, no TLS, and another method.
        for tls in [RPCClientTLS(roots: Array(agent.certificate.utf8), serverName: AgentServer.name), nil] {
            var options = RPCClient.Options()
            options.tls = tls
            let client = try RPCClient(.tcp(host: agent.host, port: agent.port), options: options)
            await #expect(throws: RPCStatus.self) {
                try await client.unary(
                    DeliverRequest.path, AgentCoding.encode(DeliverRequest(snapshot: bench.snapshot.rawValue)),
                    options: .init(timeout: .seconds(10)))
            }
            await client.close()
        }
        #expect(bench.delivered.withLock { $0 }.isEmpty)
        server.cancel()
        await server.value
    }

    @Test func aControllerWhoseRecordIsOldOrGoneIsLetInNoMore() async throws {
        let bench = try Bench()
        let (server, agent) = try await bench.startNode()
        let (clients, presence) = try await bench.controller()
        #expect(await bench.failure(clients) == nil)
        bench.clock.advance(120)
        try await bench.register(agent)
        #expect(await bench.failure(clients)?.message.contains("PERMISSION_DENIED") == true)
        // One that ends in order takes its record with it.
        let running = Task { await presence.run() }
        running.cancel()
        await running.value
        #expect(try await bench.catalog.controllers(of: "c").isEmpty)
        #expect(bench.delivered.withLock { $0 }.count == 1)
        server.cancel()
        await server.value
    }

    @Test func keysAreNewAtEachStart() async throws {
        let bench = try Bench()
        let (first, agent) = try await bench.startNode()
        let (clients, _) = try await bench.controller()
        #expect(await bench.failure(clients) == nil)
        first.cancel()
        await first.value
        #expect(await bench.failure(clients)?.code == .unavailable)
        let (second, other) = try await bench.startNode()
        #expect(other.certificate != agent.certificate)
        #expect(await bench.failure(clients) == nil)
        // A server that shows another key than the record's is not talked to.
        try await bench.register(NodeRecord.Agent(host: other.host, port: other.port, certificate: agent.certificate))
        let error = await bench.failure(clients)
        #expect(error?.code == .unavailable)
        #expect(bench.delivered.withLock { $0 }.count == 2)
        second.cancel()
        await second.value
    }

    @Test func aNodeThatIsDownSlowOrLiesGivesAClearAnswerInTime() async throws {
        let bench = try Bench()
        let (clients, _) = try await bench.controller()
        #expect(await bench.failure(clients)?.message.contains("no record of node c/a") == true)
        try await bench.register(nil)
        #expect(await bench.failure(clients)?.message.contains("has no agent") == true)
        let identity = try TLSIdentity(name: AgentServer.name, lifetime: .seconds(3600))
        // It takes connections and says nothing; it answers what is no answer.
        for (handler, code) in [
            (
                RPCMethod(
                    DeliverRequest.path,
                    .unary { _, _ in
                        try await Task.sleep(for: .seconds(60)); return []
                    }), "aborted"
            ),
            (RPCMethod(DeliverRequest.path, .unary { _, _ in Array("not json".utf8) }), "unavailable"),
        ] {
            var options = RPCServer.Options()
            options.tls = RPCServerTLS(
                certificateChain: identity.certificate, privateKey: identity.privateKey, clients: .anyCertificate)
            let server = RPCServer([handler], options: options)
            guard case .tcp(let host, let port) = try await server.listen(on: .tcp(host: "127.0.0.1", port: 0)) else {
                return #expect(Bool(false))
            }
            try await bench.register(
                NodeRecord.Agent(
                    host: host, port: port, certificate: String(decoding: identity.certificate, as: UTF8.self)))
            let start = ContinuousClock.now
            do {
                try await clients.deliver(bench.snapshot, on: bench.node, until: .now + .seconds(2))
                Issue.record("no error")
            } catch let error as PerSSDError {
                #expect(error.code.rawValue == code, "\(error)")
            }
            #expect(ContinuousClock.now - start < .seconds(5))
            await server.shutdown(gracePeriod: .zero)
        }
        bench.clock.advance(300)
        #expect(await bench.failure(clients)?.message.contains("silent for 5 min") == true)
    }
}
