import CatalogTestSupport
import Errors
import Foundation
import Testing
import TransferTestSupport

@testable import Persistence

@Suite struct RewritingTests {
    let bucket: Bucket
    init() throws { bucket = try Bucket() }

    private var tables: [String] { bucket.store.keys.filter { $0.contains("/moved/") } }

    /// A volume whose newest generation needs one of eight blocks of its first pack.
    private func volumeWithOldPack() async throws -> (VolumeID, GenerationReference, firstPack: String) {
        let id = try await bucket.create("v")
        try await bucket.commit(id, contents(1, 2, 3, 4, 5, 6, 7, 8))
        let first = try #require(bucket.packs.first)
        let newest = try await bucket.commit(id, contents(1, 12, 13, 14, 15, 16, 17, 18))
        for _ in 0..<2 { try await bucket.collectLater() }
        return (id, newest, first)
    }

    @Test func whatIsNeededOfAnOldPackGoesIntoANewOne() async throws {
        let (id, newest, first) = try await volumeWithOldPack()
        let report = try await bucket.collectLater(rewrittenBelowPercent: 60)
        #expect(report.lineages[0].rewritten.map(\.description) == [String(first.suffix(32))])
        #expect(report.lineages[0].movedBytes > 0)
        #expect(report.condemned.packs == report.lineages[0].rewritten)
        #expect(tables.count == 1)
        // As long as the old pack is there, it is what is read.
        #expect(try await bucket.contents(newest) == Shape.bytes(contents(1, 12, 13, 14, 15, 16, 17, 18)))
        try await bucket.collectLater(rewrittenBelowPercent: 60)
        #expect(!bucket.packs.contains(first))
        #expect(bucket.packs.count == 2)
        #expect(try await bucket.contents(newest) == Shape.bytes(contents(1, 12, 13, 14, 15, 16, 17, 18)))
        let record = try await bucket.catalog.generation(newest)
        let verified = try await VerifyMap(store: bucket.store, lineage: record.lineage).run(record.map)
        #expect(verified.isSound, "\(verified.findings)")
        // A stage-out goes on from there, with pointers into what is gone.
        let next = try await bucket.commit(id, contents(1, 12, 13, 14, 15, 16, 17, 28))
        #expect(try await bucket.contents(next) == Shape.bytes(contents(1, 12, 13, 14, 15, 16, 17, 28)))
        // And all comes to rest.
        for _ in 0..<4 { try await bucket.collectLater(rewrittenBelowPercent: 60) }
        let packs = bucket.packs
        let rest = try await bucket.collectLater(rewrittenBelowPercent: 60)
        #expect(rest.lineages[0].rewritten.isEmpty && rest.condemned.isEmpty && bucket.packs == packs)
        #expect(try await bucket.contents(next) == Shape.bytes(contents(1, 12, 13, 14, 15, 16, 17, 28)))
    }

    @Test func movesOfMovesAreFollowedAndEndWithTheirUse() async throws {
        // Of the first pack ever less is needed.
        let id = try await bucket.create("v")
        var newest: GenerationReference?
        let last = contents(1, 32, 33, 34, 35, 36, 37, 38)
        for next in [
            contents(1, 2, 3, 4, 5, 6, 7, 8), contents(1, 2, 3, 4, 15, 16, 17, 18),
            contents(1, 2, 23, 24, 25, 26, 27, 28), last,
        ] {
            newest = try await bucket.commit(id, next)
            for _ in 0..<5 { try await bucket.collectLater(rewrittenBelowPercent: 95) }
        }
        let deepest = try tables.map { path -> Int in
            var depth = 0
            var next: String? = path
            while let bytes = next.flatMap({ bucket.store.bytes($0) }), let at = next {
                let (pack, lineage) = (try #require(PackID(hex: String(at.suffix(32)))), at.split(separator: "/")[1])
                depth += 1
                let into = try MovedPieces(decoding: bytes, of: pack, lineage: String(lineage)).into
                next = MovedPieces.folder(lineage: String(lineage)) + into.description
            }
            return depth
        }.max()
        #expect(deepest ?? 0 > 1)
        let reference = try #require(newest)
        #expect(try await bucket.contents(reference) == Shape.bytes(last))
        // Where nothing points into an old pack any more, its table goes.
        try await bucket.commit(id, contents(0, 0, 0, 0, 0, 0, 0, 77))
        for _ in 0..<8 { try await bucket.collectLater(rewrittenBelowPercent: 95) }
        #expect(tables.isEmpty)
        #expect(bucket.packs.count == 1)
    }

    @Test func nothingIsRewrittenWhereLittleWouldComeFree() async throws {
        let (_, newest, first) = try await volumeWithOldPack()
        let options = GarbageCollection.Options(
            grace: .seconds(3600), rewrittenBelowPercent: 60, rewrittenFromBytes: 1 << 20)
        bucket.clock.advance(4000)
        let report = try await GarbageCollection(catalog: bucket.catalog, options: options).run()
        #expect(report.lineages[0].rewritten.isEmpty)
        #expect(bucket.packs.contains(first))
        #expect(try await bucket.contents(newest) == Shape.bytes(contents(1, 12, 13, 14, 15, 16, 17, 18)))
    }

    @Test func aPlanRewritesNothing() async throws {
        _ = try await volumeWithOldPack()
        bucket.clock.advance(4000)
        let keys = bucket.store.keys
        let plan = try await bucket.collection(rewrittenBelowPercent: 60).plan()
        #expect(plan.lineages[0].rewritten.count == 1)
        #expect(bucket.store.keys == keys)
    }

    @Test(arguments: MemoryStore.Death.allCases) func whatDiesIsContinuedByTheNext(
        _ death: MemoryStore.Death
    ) async throws {
        for index in 0..<200 {
            let test = try Self()
            let (_, newest, first) = try await test.volumeWithOldPack()
            test.bucket.clock.advance(4000)
            let reached = await test.bucket.store.dying(at: index, death) {
                _ = try await test.bucket.collection(rewrittenBelowPercent: 60).run()
            }
            for _ in 0..<4 { try await test.bucket.collectLater(rewrittenBelowPercent: 60) }
            #expect(!test.bucket.packs.contains(first))
            #expect(test.bucket.packs.count == 2, "\(index)")
            let expected = Shape.bytes(contents(1, 12, 13, 14, 15, 16, 17, 18))
            #expect(try await test.bucket.contents(newest) == expected)
            if !reached {
                #expect(index > 15)
                return
            }
        }
        Issue.record("the collection never ended")
    }
}
