import Foundation
import Settings
import TestSupport
import Testing

@testable import Persistence

/// The history of a volume as people and scripts see it.
@Suite struct LogCommandTests {
    private let time = Date(timeIntervalSince1970: 1_772_366_400)  // 2026-03-01 12:00:00 UTC

    /// Commits the newest generation's contents again, with somebody who had the volume.
    private func commit(
        _ catalog: Catalog, _ volume: VolumeID, uses: [VolumeUse] = [], minutes: Double = 0, closing: Bool = true
    ) async throws {
        let head = try await catalog.updateHead(volume) {
            try $0.opening(by: NodeReference(cluster: "c", node: "n2"), expectedEpoch: nil, now: time + 7200)
        }.value
        let newest = try #require(head.newest)
        var record = try await catalog.generation(newest)
        record.volume = volume
        record.incarnation = head.incarnation
        (record.number, record.parent, record.epoch) = (newest.number + 1, newest, head.epoch)
        let cutAt = time + minutes * 60
        record.provenance = Provenance(
            node: try NodeReference(cluster: "c", node: "n2"), startedAt: cutAt - 60, cutAt: cutAt, stagedOutAt: cutAt,
            readBytes: 0, changedBytes: 1 << 20, sentBytes: 0, uses: uses)
        let reference = try await catalog.write(record, wrote: [])
        _ = try await catalog.updateHead(volume) {
            try $0.committing(reference, by: record.provenance.node, epoch: head.epoch, closing: closing, now: time)
        }
    }

    private func use(_ pod: String, labels: [String: String] = [:], ended: Bool = true) -> VolumeUse {
        VolumeUse(
            pod: .init(namespace: "lab", name: pod, uid: "uid", serviceAccount: "runner"), labels: labels,
            isReadOnly: !ended, startedAt: time, endedAt: ended ? time + 30 : nil)
    }

    /// What is drawn below the header.
    private func graph(_ bucket: SampleBucket, _ arguments: String...) async throws -> [String] {
        let run = try await Run.perssd(["log"] + arguments + ["--store", bucket.url])
        #expect(run.exitCode == 0, "\(run.output)")
        let parts = run.output.split(separator: "\n\n", maxSplits: 1)
        return (parts.last ?? "").split(separator: "\n").map(String.init)
    }

    @Test func allThatHangsOnAHistoryIsDrawnWhereItHangs() async throws {
        let bucket = try await SampleBucket()
        let catalog = Catalog(store: bucket.store)
        let id = bucket.volume.volume
        _ = try await catalog.createSnapshot(name: "nightly", of: id)
        let second = try #require(try await catalog.volume(id).head.newest)
        let clone = try await catalog.createVolume(
            NewVolume(
                name: "copy", requiredBytes: 0, limitBytes: 0, parameters: bucket.volume.parameters, claim: nil,
                source: .volume(id)))
        try await catalog.pin(second, of: id, lineage: bucket.volume.lineage, label: "published")
        try await commit(catalog, id, uses: [use("step", labels: ["run": "17", "code": "a\tb"])], minutes: 5)
        var branch = try await catalog.generation(second)
        (branch.number, branch.parent, branch.epoch) = (3, nil, 9)
        branch.provenance.cutAt = time
        try await catalog.writeBranch(branch, wrote: [], base: nil)
        try await commit(catalog, id, uses: [use("reader", ended: false)], minutes: 60, closing: false)

        func times(_ number: Int) async throws -> String {
            let found = try await catalog.history(of: catalog.volume(id).head, limit: 9).first { $0.number == number }
            return try #require(found).provenance.cutAt.formatted(Date.ISO8601FormatStyle())
                .replacing("T", with: " ").replacing("Z", with: " UTC")
        }
        let whole = [
            "o  c/n2 writes since 2026-03-01 14:00:00 UTC: not staged out yet",
            "|",
            "* 4  2026-03-01 13:00:00 UTC  c/n2  3.0 MiB, 1.0 MiB changed  (newest)",
            "|    lab/reader as runner, from 2026-03-01 12:00:00 on UTC, read-only",
            "* 3  2026-03-01 12:05:00 UTC  c/n2  3.0 MiB, 1.0 MiB changed",
            "|    lab/step as runner, from 2026-03-01 12:00:00 to 2026-03-01 12:00:30 UTC",
            "|      code = a?b",
            "|      run = 17",
            "| x  what c/n1 had not committed when it lost epoch 9, cut 2026-03-01 12:00:00 UTC: @branch-9",
            "|/",
            "| o  volume copy begins here",
            "|/",
            "* 2  \(try await times(2))  c/n1  3.0 MiB, 256.0 KiB changed  (snapshot 'nightly', label 'published')",
            "|",
            "* 1  \(try await times(1))  c/n1  3.0 MiB, 3.0 MiB changed",
        ]
        #expect(try await graph(bucket, "pvc-one") == whole)
        #expect(
            try await graph(bucket, "pvc-one", "--limit", "2") == whole.prefix(8) + ["older ones: --limit shows more"])

        // A clone's history goes on in its origin's.
        try await commit(catalog, clone.volume, minutes: 90)
        let copied = try await graph(bucket, "copy")
        #expect(copied.count == 5 && copied[0].hasPrefix("* 3  2026-03-01 13:30:00 UTC") && copied[1] == "|")
        #expect(copied[2].hasPrefix("* 2  ") && copied[2].contains("  of volume \(id)  (snapshot 'nightly'"))
        #expect(copied[4].hasPrefix("* 1  "))
        #expect(try await graph(bucket, "pvc-one")[10] == "| o  volume copy begins here, and is at generation 3")

        let json = try await Run.perssd(["log", "pvc-one", "--json", "--store", bucket.url])
        let report = try #require(json.json() as? [String: Any])
        let generations = try #require(report["generations"] as? [[String: Any]])
        #expect(generations.map { $0["number"] as? Int } == [4, 3, 2, 1] && report["isWhole"] as? Bool == true)
        #expect(generations[2]["snapshots"] as? [String] == ["nightly"])
        #expect(generations[2]["labels"] as? [String] == ["published"])
        #expect(generations[2]["clones"] as? [String] == [clone.volume.rawValue])
        #expect(generations[1]["parentDigest"] as? String == second.digest.hex)
        #expect(generations[2]["digest"] as? String == second.digest.hex)
        let uses = try #require(generations[1]["uses"] as? [[String: Any]])
        #expect(uses.count == 1 && uses[0]["pod"] as? String == "step" && uses[0]["isReadOnly"] as? Bool == false)
        let branches = try #require(report["branches"] as? [[String: Any]])
        #expect(branches.count == 1 && branches[0]["base"] as? Int == 2 && branches[0]["epoch"] as? Int == 9)
    }

    @Test func whatIsWrongWithOthersIsNoHindrance() async throws {
        let bucket = try await SampleBucket()
        let catalog = Catalog(store: bucket.store)
        let id = bucket.volume.volume
        let newest = try #require(try await catalog.volume(id).head.newest)
        try await catalog.pin(newest, of: id, lineage: bucket.volume.lineage, label: "published")
        let other = try await catalog.createSnapshot(name: "other", of: VolumeID(name: "pvc-two"))
        for path in ["snapshots/\(other.snapshot).json", "volumes/\(other.volume)/head.json"] {
            try Data("{}".utf8).write(to: URL(fileURLWithPath: bucket.directory + "bucket/\(path)"))
        }
        let run = try await Run.perssd(["log", "pvc-one", "--store", bucket.url])
        #expect(run.exitCode == 0 && run.output.contains("(newest, label 'published')"), "\(run.output)")
        #expect(run.output.contains("not shown in full: object snapshots/\(other.snapshot).json"))
    }

    @Test func whatExpiredIsAGapAndWhatIsDamagedAnErrorAfterTheRest() async throws {
        let bucket = try await SampleBucket()
        let catalog = Catalog(store: bucket.store)
        let id = bucket.volume.volume
        for _ in 0..<2 { try await commit(catalog, id) }
        let history = try await catalog.provenHistory(of: catalog.volume(id).head, limit: 9).map(\.reference)
        var record = CollectionRecord(lineage: bucket.volume.lineage, since: time)
        record.histories = [
            .init(
                volume: id, incarnation: bucket.volume.incarnation, through: 3,
                kept: [.init(number: 1, digest: history[3].digest)], changedAt: time)
        ]
        _ = try await catalog.save(
            record, at: CatalogKey.collection(lineage: bucket.volume.lineage), condition: .absent)
        for number in [2, 3] { try FileManager.default.removeItem(atPath: bucket.generationPath(number)) }
        let lines = try await graph(bucket, "pvc-one")
        #expect(lines.count == 3 && lines[0].hasPrefix("* 4 ") && lines[2].hasPrefix("* 1 "), "\(lines)")
        #expect(lines[1] == ":  2 that have expired")

        try FileManager.default.removeItem(atPath: bucket.generationPath(1))
        let run = try await Run.perssd(["log", "pvc-one", "--store", bucket.url])
        #expect(run.exitCode == ExitMeaning.corrupt.rawValue)
        #expect(run.output.contains("* 4 ") && run.output.contains("generation 1 of"), "\(run.output)")
        let gone = try await Run.perssd(["log", "pvc-one@1", "--store", bucket.url])
        #expect(gone.exitCode == ExitMeaning.usage.rawValue)
    }
}
