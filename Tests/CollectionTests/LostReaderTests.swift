import CatalogTestSupport
import Foundation
import Testing

@testable import Persistence

/// What nodes read that will never say that they read it no more.
@Suite struct LostReaderTests {
    @Test(arguments: [true, false]) func aReaderPinsForAsLongAsItsNodeGivesSignsOfLife(isThere: Bool) async throws {
        let bucket = try Bucket()
        let catalog = bucket.catalog
        let id = try await bucket.create("v")
        let first = try await bucket.commit(id, contents(1, 2))
        let reader = try NodeReference(cluster: "c", node: "reader")
        func signOfLife() async throws {
            try await catalog.save(
                NodeRecord(node: reader, pools: [], startedAt: start, seenAt: bucket.clock.now, interval: 30))
        }
        try await signOfLife()
        _ = try await catalog.beginReading(try await catalog.volume(id), by: reader, as: nil)
        try await bucket.commit(id, contents(3))
        for _ in 0..<10 {
            bucket.clock.advance(86_400)
            if isThere { try await signOfLife() }
            try await bucket.collectLater()
        }
        #expect(try await bucket.isHeld(first) == isThere)
        #expect(try await catalog.readers(of: id).count == (isThere ? 1 : 0))
    }

    @Test func aPlanTakesNothingAway() async throws {
        let bucket = try Bucket()
        let id = try await bucket.create("v")
        try await bucket.commit(id, contents(1, 2))
        _ = try await bucket.catalog.beginReading(try await bucket.catalog.volume(id), by: bucket.node, as: nil)
        bucket.clock.advance(30 * 86_400)
        _ = try await bucket.collection().plan()
        #expect(try await bucket.catalog.readers(of: id).count == 1)
    }
}
