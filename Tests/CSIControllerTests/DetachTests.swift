import Agents
import CSI
import CatalogTestSupport
import Errors
import Persistence
import RPC
import Synchronization
import Testing
import VolumeEvents

/// Unpublishing while there is uncommitted work.
@Suite struct DetachTests {
    /// A volume that node "a" has open.
    private func opened(
        _ parameters: [String: String] = [:], agents: any NodeAgents = NoNodeAgents()
    ) async throws -> (bench: Bench, volume: Volume) {
        var bench = try await Bench.withNodes()
        bench.agents = agents
        let volume = try await bench.create(parameters: parameters)
        _ = try await bench.publish(volume)
        try await bench.open(volume)
        return (bench, volume)
    }

    @Test func waitsForTheCommit() async throws {
        let (bench, volume) = try await opened()
        async let committed: Void = {
            try await Task.sleep(for: .milliseconds(250))
            try await bench.commit(volume, closing: true)
        }()
        try await bench.unpublish(volume, timeout: .seconds(20))
        try await committed
        let head = try await bench.head(volume)
        #expect(head.lease == nil)
        #expect(head.newest?.number == 1)
        #expect(head.loss == nil)
        #expect(head.epoch == 1)
    }

    @Test func answersAbortedInTime() async throws {
        let (bench, volume) = try await opened()
        try await bench.commit(volume, closing: false)
        let start = ContinuousClock.now
        await expectStatus(.aborted, "node c/a", "generation 1", "waiting for 0.0 s", "silent for 0.0 s") {
            try await bench.unpublish(volume, timeout: .seconds(4))
        }
        let took = ContinuousClock.now - start
        #expect(took > .seconds(2) && took < .seconds(4), "\(took)")
        let head = try await bench.head(volume)
        #expect(head.lease?.state == .open)
        #expect(head.lease?.detachRequestedAt == bench.clock.now)

        bench.clock.advance(70)
        await expectStatus(.aborted, "waiting for 1 min 10 s", "silent for 1 min 10 s") {
            try await bench.unpublish(volume)
        }
        #expect(try await bench.head(volume) == head)
    }

    @Test func aDeadNodeIsNotWaitedFor() async throws {
        let (bench, volume) = try await opened()
        bench.clock.advance(90)
        let start = ContinuousClock.now
        await expectStatus(.aborted) { try await bench.unpublish(volume, timeout: .seconds(30)) }
        #expect(ContinuousClock.now - start < .seconds(20))
    }

    @Test func aSilentNodeLosesTheLease() async throws {
        let (bench, volume) = try await opened(["nodeLossTimeout": "5m"])
        try await bench.commit(volume, closing: false)
        let openSince = try await bench.head(volume).lease?.since
        // Long silent before, but the wait only begins now.
        bench.clock.advance(3600)
        await expectStatus(.aborted) { try await bench.unpublish(volume) }
        bench.clock.advance(300)
        await expectStatus(.aborted, "5 min 0 s") { try await bench.unpublish(volume) }
        #expect(bench.log.messages(.error).isEmpty)
        bench.clock.advance(1)
        try await bench.unpublish(volume)
        let head = try await bench.head(volume)
        #expect(head.lease == nil)
        #expect(head.epoch == 2)
        #expect(head.newest?.number == 1)
        #expect(head.loss?.node.node == "a")
        #expect(head.loss?.epoch == 1)
        #expect(head.loss?.newestGeneration == 1)
        #expect(head.loss?.openSince == openSince)
        let errors = bench.log.messages(.error)
        #expect(errors.count == 1)
        for word in ["c/a", volume.volumeID, "generation 1", "2023-11-14", "branch", "5 min 1 s", "epoch=1"] {
            #expect(errors.first?.contains(word) == true, "'\(word)' is not in \(errors)")
        }
        // And another node can have it; the first one cannot commit any more.
        try await bench.register("b")
        #expect(try await bench.publish(volume, on: "b")["epoch"] == "3")
        await expectStatus(.failedPrecondition) {
            do { try await bench.commit(volume, closing: true) } catch { throw RPCStatus(error) }
        }
    }

    /// The claim hears of a wait that is long, and of what is given up.
    @Test func whoWaitsIsTold() async throws {
        let bench = try await Bench.withNodes()
        let uid = "0a1b2c3d-0000-4000-8000-00000000abcd"
        let volume = try await bench.create(
            "pvc-\(uid)",
            parameters: [
                "nodeLossTimeout": "5m", "csi.storage.k8s.io/pvc/name": "results",
                "csi.storage.k8s.io/pvc/namespace": "science",
            ])
        _ = try await bench.publish(volume)
        try await bench.open(volume)
        await expectStatus(.aborted) { try await bench.unpublish(volume) }
        bench.clock.advance(29)
        await expectStatus(.aborted) { try await bench.unpublish(volume) }
        #expect(bench.told.all.isEmpty)
        bench.clock.advance(1)
        await expectStatus(.aborted) { try await bench.unpublish(volume) }
        let waiting = Occurrence.Waiting(
            for: "a", waited: .seconds(30), silence: .seconds(30), limit: .seconds(300))
        #expect(Set(bench.told.all.map(\.occurrence)) == [.waitingForNode(waiting)])
        bench.clock.advance(271)
        try await bench.unpublish(volume)
        let last = try #require(bench.told.all.last)
        let loss = try #require(try await bench.head(volume).loss)
        #expect(last.occurrence == .leaseRevoked(loss, silence: .seconds(301)))
        #expect(last.claim == VolumeEvent.Claim(namespace: "science", name: "results", uid: uid))
        let id = try bench.id(volume)
        #expect(last.pods.isEmpty && last.at == bench.clock.now && last.volume == id)
    }

    /// Between two reports a living node is silent for longer than so small a parameter.
    @Test func aLivingNodeKeepsTheLeaseHoweverLittleTheParameterGrants() async throws {
        let (bench, volume) = try await opened(["nodeLossTimeout": "1s"])
        for _ in 0..<3 {
            try await bench.register("a")
            await expectStatus(.aborted) { try await bench.unpublish(volume) }
            bench.clock.advance(40)
            await expectStatus(.aborted, "silent for 40") { try await bench.unpublish(volume) }
        }
        // Its record counts for three intervals, and then no more.
        bench.clock.advance(60)
        try await bench.unpublish(volume)
        #expect(try await bench.head(volume).loss != nil)
    }

    @Test func aSignOfLifeStartsTheWaitAnew() async throws {
        let (bench, volume) = try await opened(["nodeLossTimeout": "5m"])
        await expectStatus(.aborted) { try await bench.unpublish(volume) }
        bench.clock.advance(299)
        try await bench.register("a")
        await expectStatus(.aborted, "waiting for 4 min 59 s", "silent for 0.0 s") {
            try await bench.unpublish(volume)
        }
        bench.clock.advance(299)
        await expectStatus(.aborted, "silent for 4 min 59 s") { try await bench.unpublish(volume) }
        bench.clock.advance(2)
        try await bench.unpublish(volume)
        #expect(try await bench.head(volume).loss != nil)
    }

    /// A living node whose clock is a day behind keeps its lease.
    @Test func aWrongClockIsNoSilence() async throws {
        let (bench, volume) = try await opened(["nodeLossTimeout": "1m"])
        let slow = Bench(bench.store)
        slow.clock.advance(-86_400)
        for _ in 0..<5 {
            try await slow.register("a")
            await expectStatus(.aborted) { try await bench.unpublish(volume) }
            bench.clock.advance(50)
            slow.clock.advance(50)
        }
        #expect(try await bench.head(volume).lease?.state == .open)
        #expect(bench.log.messages(.error).isEmpty)
    }

    @Test func aNodeWithoutARecordIsSilent() async throws {
        let (bench, volume) = try await opened()
        try await bench.store.remove(try ObjectKey("nodes/c/a.json"))
        await expectStatus(.aborted, "no record") { try await bench.unpublish(volume) }
        bench.clock.advance(601)
        try await bench.unpublish(volume, from: "")
        #expect(try await bench.head(volume).loss?.node.node == "a")
    }

    @Test func aCommitInTheLastMomentWins() async throws {
        let store = MemoryStore()
        let bench = try await Bench.withNodes(store)
        for index in 0..<50 {
            let volume = try await bench.create("pvc-\(index)")
            _ = try await bench.publish(volume)
            try await bench.open(volume)
            await expectStatus(.aborted) { try await bench.unpublish(volume, timeout: .milliseconds(20)) }
            bench.clock.advance(601)
            let reached = try await store.interrupting(
                at: index, with: { try await bench.commit(volume, closing: true) },
                { try await bench.unpublish(volume, timeout: .seconds(60)) })
            let head = try await bench.head(volume)
            #expect(head.lease == nil)
            guard reached else {
                #expect(index > 3)
                return
            }
            // Whoever came first: either the work is committed, or the loss is on record.
            #expect((head.newest == nil) == (head.loss != nil), "\(head)")
        }
        Issue.record("the detach never ended")
    }

    @Test func publishingAgainEndsTheDetach() async throws {
        let (bench, volume) = try await opened()
        await expectStatus(.aborted) { try await bench.unpublish(volume) }
        bench.clock.advance(500)
        try await bench.register("a")
        _ = try await bench.publish(volume)
        #expect(try await bench.head(volume).lease?.detachRequestedAt == nil)
        bench.clock.advance(500)
        await expectStatus(.aborted, "waiting for 0.0 s") { try await bench.unpublish(volume) }
    }

    @Test func cancellingStopsTheWait() async throws {
        let (bench, volume) = try await opened()
        let task = Task { try await bench.unpublish(volume, timeout: .seconds(60)) }
        try await Task.sleep(for: .milliseconds(200))
        let start = ContinuousClock.now
        task.cancel()
        await expectStatus(.cancelled) { try await task.value }
        #expect(ContinuousClock.now - start < .seconds(20))
        #expect(try await bench.head(volume).lease?.state == .open)
    }

    // MARK: Asking the node

    /// Nothing else on the node would look at the volume.
    @Test func theNodeIsAskedOnceAndSaysWhatIsLost() async throws {
        let store = Mutex<Catalog?>(nil)
        let agents = ScriptedAgents(handOver: { asked, node in
            // Some polls later.
            try await Task.sleep(for: .milliseconds(700))
            guard let catalog = store.withLock({ $0 }) else { return }
            _ = try await catalog.updateHead(asked) { $0.revoking(now: catalog.time) }
        })
        let (bench, volume) = try await opened(agents: agents)
        let id = try bench.id(volume)
        store.withLock { $0 = bench.catalog }
        try await bench.unpublish(volume, timeout: .seconds(60))
        #expect(agents.calls.withLock { $0 } == ["hand over \(id) c/a"])
        let head = try await bench.head(volume)
        #expect(head.lease == nil)
        #expect(head.loss?.epoch == 1)
    }

    @Test func aNodeThatCannotBeAskedIsWaitedForAllTheSame() async throws {
        for failure in [
            PerSSDError(.failedPrecondition, "the agent of node c/a says UNIMPLEMENTED"),
            PerSSDError(.unavailable, "no connection"),
        ] {
            let (bench, volume) = try await opened(agents: ScriptedAgents(handOver: { _, _ in throw failure }))
            let before = try await bench.head(volume)
            await expectStatus(.aborted, "node c/a") { try await bench.unpublish(volume, timeout: .seconds(2)) }
            let head = try await bench.head(volume)
            #expect(head.lease?.state == .open && head.epoch == before.epoch && head.loss == nil)
            #expect(bench.log.messages(.notice).contains { $0.contains(failure.message) })
            async let committed: Void = {
                try await Task.sleep(for: .milliseconds(250))
                try await bench.commit(volume, closing: true)
            }()
            try await bench.unpublish(volume, timeout: .seconds(60))
            try await committed
            #expect(try await bench.head(volume).lease == nil)
        }
    }

    @Test func anAgentThatHangsHoldsUpNothing() async throws {
        let wasLeft = Mutex(false)
        let (bench, volume) = try await opened(
            agents: ScriptedAgents(handOver: { _, _ in
                do {
                    try await Task.sleep(for: .seconds(20))
                } catch {
                    wasLeft.withLock { $0 = true }
                    throw error
                }
            }))
        async let committed: Void = {
            try await Task.sleep(for: .milliseconds(250))
            try await bench.commit(volume, closing: true)
        }()
        try await bench.unpublish(volume, timeout: .seconds(60))
        try await committed
        #expect(try await bench.head(volume).newest?.number == 1)
        let deadline = ContinuousClock.now + .seconds(19)
        while !wasLeft.withLock({ $0 }), .now < deadline { try await Task.sleep(for: .milliseconds(10)) }
        #expect(wasLeft.withLock { $0 }, "the detach has waited for the agent's answer")
    }

    @Test func nobodyIsAskedWhereNothingIsWaitedFor() async throws {
        let agents = ScriptedAgents()
        let (bench, volume) = try await opened(agents: agents)
        try await bench.commit(volume, closing: true)
        try await bench.unpublish(volume)
        // A silent node is not there to answer.
        let other = try await bench.create("pvc-2")
        _ = try await bench.publish(other)
        try await bench.open(other)
        bench.clock.advance(600)
        await expectStatus(.aborted) { try await bench.unpublish(other) }
        #expect(agents.calls.withLock { $0 }.isEmpty)
    }
}
