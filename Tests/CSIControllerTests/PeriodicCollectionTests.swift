import CSIController
import CatalogTestSupport
import Errors
import Foundation
import Persistence
import Testing

@Suite struct PeriodicCollectionTests {
    private let bench = Bench()

    private func periodic() -> PeriodicCollection {
        PeriodicCollection(
            catalog: bench.catalog, interval: .seconds(3600), grace: .seconds(60), logger: bench.log.logger)
    }

    private var collections: Int { bench.log.messages(.info).filter { $0.hasPrefix("collected garbage ") }.count }

    @Test func itIsTimeAnIntervalAfterWhoeverWasLast() async throws {
        let (one, other) = (periodic(), periodic())
        await one.look()
        #expect(collections == 1)
        await one.look()
        await other.look()
        #expect(collections == 1)
        bench.clock.advance(3590)
        await one.look()
        #expect(collections == 1)
        bench.clock.advance(10)
        await other.look()
        #expect(collections == 2)
        // Somebody's own run counts, too.
        bench.clock.advance(3590)
        _ = try await GarbageCollection(catalog: bench.catalog).run()
        bench.clock.advance(10)
        await one.look()
        #expect(collections == 2)
    }

    @Test func whatNobodyNeedsGoesByItself() async throws {
        // The grace period passes by the store's clock.
        let clock = TestClock()
        let bench = Bench(MemoryStore(clock: clock), clock: clock)
        try await bench.register("a")
        let periodic = PeriodicCollection(
            catalog: bench.catalog, interval: .seconds(3600), grace: .seconds(60), logger: bench.log.logger)
        let volume = try await bench.create(parameters: ["retention": "last=1"])
        _ = try await bench.publish(volume)
        try await bench.open(volume)
        let first = try await bench.commit(volume, closing: false)
        let second = try await bench.commit(volume, closing: false)
        await periodic.look()
        _ = try await bench.catalog.generation(first)
        bench.clock.advance(3600)
        await periodic.look()
        await #expect(throws: PerSSDError.self) { try await bench.catalog.generation(first) }
        _ = try await bench.catalog.generation(second)
        #expect(bench.log.messages(.info).contains { $0.contains("removedGenerations=1") })
    }

    @Test func aFailureIsToldAndTriedAgainSooner() async throws {
        let store = try #require(bench.store as? MemoryStore)
        store.intervene(before: { call in
            if call.operation == .list { throw PerSSDError(.unavailable, "the store is down") }
        })
        await periodic().look()
        #expect(
            bench.log.messages(.warning).contains {
                $0.contains("the store is down") && $0.contains("nextTry=in 15 min 0 s")
            })
        store.intervene()
        bench.clock.advance(899)
        await periodic().look()
        #expect(collections == 0)
        bench.clock.advance(1)
        await periodic().look()
        #expect(collections == 1)
    }

    @Test func itEndsWhenItIsCancelled() async {
        let periodic = PeriodicCollection(
            catalog: bench.catalog, interval: .seconds(3600), grace: .seconds(60), pause: .milliseconds(1),
            logger: bench.log.logger)
        let task = Task { await periodic.run() }
        while collections == 0 { await Task.yield() }
        task.cancel()
        await task.value
    }
}
