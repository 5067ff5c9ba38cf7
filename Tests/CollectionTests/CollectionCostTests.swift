import CatalogTestSupport
import Errors
import Foundation
import Testing

@testable import Persistence

/// What a collection costs, in requests. Seconds are of a store in memory, so they are those of the collector alone.
@Suite struct CollectionCostTests {
    @Test func aThousandPacks() async throws {
        let count = 1000
        let bucket = try Bucket()
        let id = try await bucket.create("v", retention: "last=10")
        for stamp in 8..<8 + count {
            var contents = Shape.empty
            // Each generation changes one block.
            for block in contents.indices { contents[block] = UInt64(stamp - (stamp - block) % 8) + 1 }
            try await bucket.commit(id, contents)
        }
        #expect(bucket.packs.count == count)
        var step = 0
        func run(_ what: String) async throws -> CollectionReport {
            step += 1
            bucket.clock.advance(Bucket.grace + 60)
            bucket.store.forgetCalls()
            let begun = ContinuousClock.now
            let report = try await bucket.collect(rewrittenBelowPercent: 0)
            let seconds = Double((ContinuousClock.now - begun) / .milliseconds(1)) / 1000
            print("figure collection-\(step)-\(what)-requests-per-1000-packs \(bucket.store.calls.count) requests")
            print("figure collection-\(step)-\(what)-seconds-per-1000-packs \(seconds) s")
            return report
        }
        #expect(try await run("condemn-generations").condemned.generations.count == count - 10)
        #expect(try await run("remove-generations").removed.generations.count == count - 10)
        #expect(try await run("condemn-packs").condemned.packs.count > count * 9 / 10)
        #expect(try await run("remove-packs").removed.packs.count > count * 9 / 10)
        _ = try await run("nothing-to-do")
        // The last ten generations share most of their blocks with those before.
        #expect(bucket.generations.count == 10)
        #expect(bucket.packs.count < 30)
        // Where nothing is to be done, it costs a listing, the records, and the map nodes that are reached.
        #expect(bucket.store.calls.count < 150)
    }
}
