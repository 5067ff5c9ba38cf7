import Foundation
import Persistence
import Settings
import TestSupport
import Testing

/// `perssd gc` and `perssd pin`, as programs.
@Suite struct CollectCommandTests {
    /// Objects of the store.
    private func packs(_ bucket: SampleBucket) throws -> Int {
        let files = try #require(
            FileManager.default.enumerator(atPath: bucket.directory + "bucket/lineages"))
        return files.compactMap { $0 as? String }.count { $0.contains("/packs/") && !$0.hasSuffix("/packs") }
    }

    private func gc(_ bucket: SampleBucket, _ arguments: String...) async throws -> [String: Any] {
        let run = try await Run.perssd(["gc", "--json", "--store", bucket.url] + arguments)
        #expect(run.exitCode == 0, "\(run.output)")
        return try #require(run.json() as? [String: Any])
    }

    private func lineage(_ report: [String: Any], _ part: String) throws -> (generations: [Int], packs: Int) {
        let lineages = try #require(report["lineages"] as? [[String: Any]])
        var (generations, packs) = ([Int](), 0)
        for lineage in lineages {
            let garbage = try #require(lineage[part] as? [String: Any])
            generations += try #require(garbage["generations"] as? [[String: Any]]).compactMap { $0["number"] as? Int }
            packs += try #require(garbage["packs"] as? [String]).count
        }
        return (generations.sorted(), packs)
    }

    @Test func whatIsNeededStaysWhateverIsRun() async throws {
        let bucket = try await SampleBucket()
        let before = try packs(bucket)
        for _ in 0..<3 {
            let report = try await gc(bucket)
            for part in ["removed", "condemned", "waiting"] {
                let (generations, packs) = try lineage(report, part)
                #expect(generations.isEmpty && packs == 0)
            }
        }
        #expect(try packs(bucket) == before)
        let verified = try await Run.perssd(["verify", "--all", "--history", "--store", bucket.url])
        #expect(verified.exitCode == 0, "\(verified.output)")
    }

    @Test func aDryRunShowsWhatADeletedVolumeLeavesAndDoesNothing() async throws {
        let bucket = try await SampleBucket()
        let pinned = try await Run.perssd(["pin", "pvc-one@1", "published", "--store", bucket.url])
        #expect(pinned.exitCode == 0 && pinned.output.contains("'published' keeps generation 1"), "\(pinned.output)")
        let listed = try await Run.perssd(["pin", "default/data", "--store", bucket.url])
        #expect(listed.output.contains("published"))
        let catalog = Catalog(store: bucket.store)
        try await catalog.deleteVolume(bucket.volume.volume)
        let before = try packs(bucket)
        let plan = try await gc(bucket, "--dry-run")
        #expect(plan["isDryRun"] as? Bool == true)
        #expect(try lineage(plan, "condemned").generations == [2])
        let text = try await Run.perssd(["gc", "--dry-run", "--store", bucket.url])
        #expect(text.exitCode == 0 && text.output.contains("would condemn 1 generations"), "\(text.output)")
        // Nothing was written: the next one would do the same.
        #expect(try lineage(try await gc(bucket, "--dry-run"), "condemned").generations == [2])
        #expect(try lineage(try await gc(bucket), "condemned").generations == [2])
        #expect(try lineage(try await gc(bucket), "waiting").generations == [2])
        #expect(try packs(bucket) == before)
    }

    @Test func wrongUsageIsExplained() async throws {
        let bucket = try await SampleBucket()
        for (arguments, words) in [
            (["gc", "--grace", "soon"], "give a duration"), (["gc", "--grace", "1s"], "give a duration"),
            (["pin", "pvc-one", "--remove"], "needs the label"),
            (["pin", "pvc-one@1", "a", "--remove"], "no @GENERATION"),
        ] {
            let run = try await Run.perssd(arguments + ["--store", bucket.url])
            #expect(run.exitCode == ExitMeaning.usage.rawValue && run.output.contains(words), "\(run.output)")
        }
        let bad = try await Run.perssd(["pin", "pvc-one", "a/b", "--store", bucket.url])
        #expect(bad.exitCode == ExitMeaning.usage.rawValue && bad.output.contains("no valid label"), "\(bad.output)")
    }
}
