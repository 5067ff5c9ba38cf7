import Foundation
import Persistence
import Settings
import TestSupport
import Testing

/// Nodes and leases, looked at and taken away from outside.
@Suite struct LeaseCommandTests {
    private func node(_ bucket: SampleBucket, _ name: String, cluster: String = "c", seen ago: Double) async throws {
        let now = Date()
        try await Catalog(store: bucket.store).save(
            NodeRecord(
                node: try NodeReference(cluster: cluster, node: name),
                pools: [
                    .init(name: "default", totalBytes: 100 << 30, freeBytes: 60 << 30, evictableBytes: 10 << 30),
                    .init(name: "fast", totalBytes: 10 << 30, freeBytes: 5 << 30, evictableBytes: 0),
                ], startedAt: now.addingTimeInterval(-3600), seenAt: now.addingTimeInterval(-ago), interval: 30))
    }

    private func open(_ bucket: SampleBucket) async throws {
        let catalog = Catalog(store: bucket.store)
        let node = try NodeReference(cluster: "c", node: "n1")
        _ = try await catalog.updateHead(bucket.volume.volume) {
            try $0.opening(by: node, expectedEpoch: nil, now: catalog.time)
        }
    }

    private func head(_ bucket: SampleBucket) async throws -> Head {
        try await Catalog(store: bucket.store).head(bucket.volume.volume).value
    }

    @Test func nodesAreListedWithTheirPools() async throws {
        let bucket = try await SampleBucket()
        let none = try await Run.perssd(["nodes", "--store", bucket.url])
        #expect(none.exitCode == 0 && none.output.hasPrefix("no nodes in "))
        try await node(bucket, "n1", seen: 5)
        try await node(bucket, "n1", cluster: "other", seen: 5000)
        let text = try await Run.perssd(["nodes", "--store", bucket.url])
        let lines = text.output.split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
        #expect(lines.count == 5)
        #expect(lines[1].prefix(2) == ["c/n1", "alive"])
        #expect(lines[1].suffix(7) == ["default", "100.0", "GiB", "60.0", "GiB", "10.0", "GiB"])
        #expect(lines[2].first == "fast")
        #expect(lines[3].prefix(2) == ["other/n1", "silent"])
        let json = try await Run.perssd(["nodes", "--json", "--store", bucket.url])
        let nodes = try #require(json.json() as? [[String: Any]])
        #expect(nodes.map { $0["cluster"] as? String } == ["c", "other"])
        #expect(nodes.map { $0["isAlive"] as? Bool } == [true, false])
        #expect((nodes[0]["pools"] as? [[String: Any]])?[0]["freeBytes"] as? Int == 60 << 30)
    }

    @Test func readersAreShown() async throws {
        let bucket = try await SampleBucket()
        let catalog = Catalog(store: bucket.store)
        let listing = try #require(try await catalog.allVolumes().first { $0.record.name == "pvc-one" })
        for cluster in ["c", "d"] {
            _ = try await catalog.beginReading(listing, by: NodeReference(cluster: cluster, node: "n2"), as: nil)
        }
        let text = try await Run.perssd(["lease", "pvc-one", "--store", bucket.url])
        for cluster in ["c", "d"] {
            #expect(text.output.contains("reader: \(cluster)/n2 reads generation 2 since "), "\(text.output)")
        }
        let json = try await Run.perssd(["lease", "pvc-one", "--json", "--store", bucket.url])
        let report = try #require(json.json() as? [String: Any])
        let readers = try #require(report["readers"] as? [[String: Any]])
        #expect(readers.map { $0["node"] as? String } == ["c/n2", "d/n2"])
        #expect(readers.map { $0["generation"] as? Int } == [2, 2])

        let volumes = try await Run.perssd(["volumes", "--store", bucket.url])
        let lines = volumes.output.split(separator: "\n").map { $0.split(separator: " ") }
        #expect(lines[1].suffix(2) == ["free", "2"] && lines[2].suffix(2) == ["free", "-"], "\(volumes.output)")
        let list = try await Run.perssd(["volumes", "--json", "--store", bucket.url])
        let described = try #require(list.json() as? [[String: Any]])
        #expect(
            Dictionary(uniqueKeysWithValues: described.map { ($0["name"] as! String, $0["readers"] as? [String]) })
                == ["pvc-one": ["c/n2", "d/n2"], "pvc-two": []])
    }

    @Test func aLeaseIsShown() async throws {
        let bucket = try await SampleBucket()
        let free = try await Run.perssd(["lease", "pvc-one", "--store", bucket.url])
        #expect(free.exitCode == 0 && free.output.contains("lease:  free"), "\(free.output)")
        let nothing = try await Run.perssd(["lease", "pvc-one", "--revoke", "--yes", "--store", bucket.url])
        #expect(nothing.exitCode == 1 && nothing.output.contains("nobody holds volume 'default/data'"))
        try await node(bucket, "n1", seen: 5)
        try await open(bucket)
        let text = try await Run.perssd(["lease", "default/data", "--store", bucket.url])
        for words in ["open on c/n1 since ", "generation 2", "by the node itself", "alive, seen at "] {
            #expect(text.output.contains(words), "\(text.output)")
        }
        let json = try await Run.perssd(["lease", "default/data", "--json", "--store", bucket.url])
        let report = try #require(json.json() as? [String: Any])
        let lease = try #require(report["lease"] as? [String: Any])
        #expect(lease["state"] as? String == "open" && lease["nodeIsAlive"] as? Bool == true)
        #expect(report["epoch"] as? UInt64 == (try await head(bucket)).epoch)
        for arguments in [["pvc-one", "--yes"], ["pvc-one@1"]] {
            let wrong = try await Run.perssd(["lease", "--store", bucket.url] + arguments)
            #expect(wrong.exitCode == ExitMeaning.usage.rawValue)
        }
    }

    /// Runs the command with a line to read.
    private func revoke(_ bucket: SampleBucket, answer: String) async throws -> Run {
        let script = #"printf '%s' "$1" | exec "$2" lease pvc-one --revoke --store "$3""#
        let program = try PackageRoot.builtProgram("perssd")
        let (status, output) = try await TestCommand.status(
            "/bin/sh", ["-c", script, "sh", answer, program, bucket.url], within: .seconds(60))
        return Run(exitCode: status, output: output)
    }

    @Test func revokingTakesTheNameOfTheVolume() async throws {
        let bucket = try await SampleBucket()
        try await open(bucket)
        let before = try await head(bucket)
        for answer in ["", "\n", "yes\n", "pvc-on\n"] {
            let run = try await revoke(bucket, answer: answer)
            #expect(run.exitCode == 1)
            #expect(run.output.contains("WARNING: node c/n1 writes volume default/data since "), "\(run.output)")
            #expect(run.output.contains("nothing was changed"))
            #expect(try await head(bucket) == before)
        }
        let run = try await revoke(bucket, answer: "default/data\n")
        #expect(run.exitCode == 0)
        let epoch = before.epoch + 1
        #expect(run.output.contains("is revoked: the volume is at epoch \(epoch), and stands at generation 2"))
        let after = try await head(bucket)
        #expect(after.lease == nil && after.epoch == epoch)
        #expect(after.loss?.epoch == before.epoch && after.loss?.newestGeneration == 2)
        // The node can commit nothing any more, and the loss is shown.
        let holder = try NodeReference(cluster: "c", node: "n1")
        #expect(throws: (any Error).self) { try after.closing(by: holder, epoch: before.epoch, now: Date()) }
        let text = try await Run.perssd(["lease", "pvc-one", "--store", bucket.url])
        #expect(text.output.contains("what c/n1 wrote since generation 2 at epoch \(before.epoch)"), "\(text.output)")

        try await open(bucket)
        let unasked = try await Run.perssd(["lease", "pvc-one", "--revoke", "--yes", "--json", "--store", bucket.url])
        #expect(unasked.exitCode == 0)
        let report = try #require(unasked.json() as? [String: Any])
        #expect(report["lease"] == nil && report["epoch"] as? UInt64 == epoch + 2)
    }

    @Test func aLeaseThatChangedSinceItWasShownIsNotRevoked() async throws {
        let bucket = try await SampleBucket()
        try await open(bucket)
        let pipe = bucket.directory + "answer"
        #expect(mkfifo(pipe, 0o600) == 0)
        // Open for both, so that neither side waits for the other.
        let answer = try #require(FileHandle(forUpdatingAtPath: pipe))
        let process = try await TestProcess.start(
            "/bin/sh",
            [
                "-c", #"exec "$1" lease pvc-one --revoke --store "$2" <"$3""#, "sh",
                try PackageRoot.builtProgram("perssd"), bucket.url, pipe,
            ], directory: bucket.directory)
        try await process.waitUntilReady { process.output.contains("Type the volume's name") }
        // Meanwhile the node commits, and the volume is given to another.
        try await bucket.commit(bucket.contents[0])
        let other = try NodeReference(cluster: "c", node: "n2")
        _ = try await Catalog(store: bucket.store).updateHead(bucket.volume.volume) {
            try $0.opening(by: other, expectedEpoch: nil, now: Date())
        }
        try answer.write(contentsOf: Data("default/data\n".utf8))
        #expect(try await process.waitForExit() == 1)
        #expect(process.output.contains("changed meanwhile: now it is open on c/n2"), "\(process.output)")
        #expect(try await head(bucket).lease?.holder == other)
    }
}
