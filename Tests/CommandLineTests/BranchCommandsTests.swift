import Foundation
import Persistence
import TestSupport
import Testing

/// What a fenced node had not committed can be looked at, taken out of the bucket, and made a volume.
@Suite struct BranchCommandsTests {
    /// A bucket whose volume of two generations has a branch besides, based on the first.
    private struct Place {
        let bucket: SampleBucket
        let contents: [UInt8]
        var data: String { "default/data@branch-9" }

        init() async throws {
            bucket = try await SampleBucket()
            let catalog = Catalog(store: bucket.store)
            let listing = try await catalog.volume(bucket.volume.volume)
            let base = try #require(
                try await catalog.provenHistory(of: listing.head, limit: 2).first { $0.record.number == 1 }
            ).record
            var contents = bucket.contents[0]
            for index in 0..<(300 << 10) { contents[index + (20 << 20)] = UInt8.random(in: 1...255) }
            self.contents = contents
            let staged = try await StageOut(store: bucket.store, lineage: base.lineage).run(
                source: Bytes(contents), changed: .unknown, parent: base.map)
            var branch = base
            (branch.number, branch.parent, branch.epoch, branch.map) = (2, nil, 9, staged.root)
            try await catalog.writeBranch(branch, wrote: staged.packs, base: base)
        }

        func perssd(_ arguments: String...) async throws -> Run {
            try await Run.perssd(arguments + ["--store", bucket.url])
        }

        func contents(of state: String) async throws -> [UInt8] {
            let path = bucket.directory + "restored-\(UInt32.random(in: 0...UInt32.max))"
            let run = try await perssd("restore", state, "--to", path)
            #expect(run.exitCode == 0, "\(run.output)")
            return [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
        }
    }

    @Test func aBranchIsReadLikeAGeneration() async throws {
        let place = try await Place()
        #expect(try await place.contents(of: place.data) == place.contents)
        let verified = try await place.perssd("verify", place.data)
        #expect(verified.exitCode == 0 && verified.output.contains("the branch of epoch 9 of default/data is sound"))
        let shown = try await place.perssd("show", place.data)
        #expect(shown.output.contains("of epoch 9") && shown.output.contains("generation 1"), "\(shown.output)")
        let json = try #require(try await place.perssd("show", place.data, "--json").json() as? [String: Any])
        #expect(json["branchEpoch"] as? Int == 9 && json["reference"] == nil)
        #expect(try await place.perssd("log", "default/data").output.contains("@branch-9"))
    }

    @Test func aBranchIsComparedWithWhatItIsBasedOn() async throws {
        let place = try await Place()
        let run = try await place.perssd("diff", place.data, "--no-files", "--json")
        let report = try #require(run.json() as? [String: Any])
        let sides = try ["from", "to"].map { try #require(report[$0] as? [String: Any]) }
        #expect(sides[0]["generation"] as? Int == 1 && sides[0]["branchEpoch"] == nil)
        #expect(sides[1]["branchEpoch"] as? Int == 9)
        let ranges = try #require(report["ranges"] as? [[String: Int]])
        #expect(ranges.first?["offset"] == 20 << 20 && ranges.count == 1)
        let text = try await place.perssd("diff", "default/data", place.data, "--no-files")
        #expect(text.output.contains("generation 2 -> the branch of epoch 9"), "\(text.output)")
    }

    @Test func aBranchBecomesAVolumeWithoutMovingData() async throws {
        let place = try await Place()
        let catalog = Catalog(store: place.bucket.store)
        let before = Set(try place.bucket.packs())
        for _ in 0..<2 {
            let run = try await place.perssd("clone", place.data, "rescued")
            #expect(run.exitCode == 0 && run.output.contains("holds the branch of epoch 9"), "\(run.output)")
        }
        #expect(Set(try place.bucket.packs()) == before)
        #expect(try await place.contents(of: "rescued") == place.contents)
        let head = try await catalog.volume(VolumeID(name: "rescued")).head
        #expect(head.newest?.number == 2 && head.newest?.volume == head.volume && head.lease == nil)
        // What it was made of can go.
        _ = try await catalog.deleteVolume(place.bucket.volume.volume)
        #expect(try await place.contents(of: "rescued") == place.contents)
        #expect(try await place.perssd("verify", "rescued", "--history").exitCode == 0)
    }

    @Test func anInterruptedCloneOfABranchIsFinishedByTheNext() async throws {
        let place = try await Place()
        let catalog = Catalog(store: place.bucket.store)
        let branch = try #require(
            try await catalog.branches(of: place.bucket.volume.volume, place.bucket.volume.incarnation).first)
        #expect(try await place.perssd("clone", "default/data@1", "rescued").exitCode == 0)
        let clone = try await catalog.volume(VolumeID(name: "rescued")).record
        let writer = try NodeReference(cluster: "branches", node: "\(branch.volume).9")
        _ = try await catalog.updateHead(clone.volume) {
            try $0.opening(by: writer, expectedEpoch: nil, now: catalog.time)
        }
        #expect(try await place.perssd("clone", place.data, "rescued").exitCode == 0)
        #expect(try await place.contents(of: "rescued") == place.contents)
        #expect(try await catalog.head(clone.volume).value.lease == nil)
    }

    @Test func whatIsNotThereOrCannotBeIsRefused() async throws {
        let place = try await Place()
        let missing = try await place.perssd("restore", "default/data@branch-8", "--to", place.bucket.directory + "x")
        #expect(missing.exitCode == 3 && missing.output.contains("it has branch-9"), "\(missing.output)")
        #expect(try await place.perssd("pin", place.data, "label").exitCode == 2)
        #expect(try await place.perssd("lease", place.data).exitCode == 2)
        // A clone that has gone its own way is not overwritten.
        #expect(try await place.perssd("clone", "default/data@1", "other").exitCode == 0)
        let catalog = Catalog(store: place.bucket.store)
        let other = try await catalog.volume(VolumeID(name: "other")).record
        let node = try NodeReference(cluster: "c", node: "n1")
        _ = try await catalog.updateHead(other.volume) {
            try $0.opening(by: node, expectedEpoch: nil, now: catalog.time)
        }
        let held = try await place.perssd("clone", place.data, "other")
        #expect(held.exitCode == 1 && held.output.contains("held by node c/n1"), "\(held.output)")
    }
}
