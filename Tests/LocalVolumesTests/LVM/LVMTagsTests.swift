import Errors
import Testing

@testable import LocalVolumes

@Suite struct LVMTagsTests {
    static let record = CopyRecord(
        volume: "vol-a", incarnation: "i 1,é#", lineage: "l/1", epoch: 7, generation: 3, state: .dirty,
        sizeBytes: 64 << 20, lastUsed: -1)

    static let shared: CopyRecord = {
        var shared = record
        (shared.use, shared.state) = (.reading, .recovered)
        return shared
    }()

    @Test(arguments: [
        LVMTags.Meaning.thinPool, .copy(record), .copy(shared), .cut(volume: "vol-a"),
        .base(volume: "vol-a", generation: .max),
    ])
    func whatIsWrittenIsRead(meaning: LVMTags.Meaning) throws {
        let tags = LVMTags.encode(meaning)
        #expect(try LVMTags.decode(tags) == meaning)
        #expect(LVMTags.isOurs(tags))
        // lvm(8): what a tag may hold, and that it has at most 1024 bytes and begins with no hyphen.
        let allowed = Set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+.-/=!:&#")
        for tag in tags { #expect(tag.allSatisfy(allowed.contains) && tag.count <= 1024 && tag.first != "-", "\(tag)") }
    }

    /// A change by hand is noticed, whichever tag it hits.
    @Test func eachTagOfACopyIsNeededAndChecked() {
        let tags = LVMTags.encode(.copy(Self.record))
        // What most are for is not said.
        #expect(LVMTags.encode(.copy(Self.shared)).contains("perssd.use=reading"))
        #expect(throws: PerSSDError.self) { try LVMTags.decode(tags.union(["perssd.use=other"])) }
        for tag in tags where tag != LVMTags.mark {
            #expect(throws: PerSSDError.self, "without \(tag)") { try LVMTags.decode(tags.subtracting([tag])) }
            let key = tag.prefix { $0 != "=" }
            #expect(throws: PerSSDError.self, "two of \(key)") { try LVMTags.decode(tags.union(["\(key)=other"])) }
        }
    }

    @Test(arguments: [
        "perssd.epoch=-1", "perssd.epoch=", "perssd.epoch=07", "perssd.epoch=18446744073709551616",
        "perssd.generation=x", "perssd.state=fine", "perssd.size=1.5", "perssd.volume=../etc", "perssd.volume=",
        "perssd.kind=thing", "perssd.incarnation=#zz", "perssd.incarnation=#f", "perssd.lineage=#ff", "perssd.used=",
    ])
    func valuesThatCannotBeAreRefused(tag: String) {
        let key = tag.prefix { $0 != "=" } + "="
        let tags = LVMTags.encode(.copy(Self.record)).filter { !$0.hasPrefix(key) }.union([tag])
        #expect(throws: PerSSDError.self) { try LVMTags.decode(tags) }
    }

    @Test func tagsOfOthersDoNotMatter() throws {
        #expect(
            try LVMTags.decode(LVMTags.encode(.copy(Self.record)).union(["backup", "other.epoch=9"]))
                == .copy(Self.record))
    }

    @Test func aChangeNamesOnlyWhatChanges() {
        var next = Self.record
        next.epoch = 8
        #expect(
            LVMPool.exchanging(LVMTags.encode(.copy(Self.record)), LVMTags.encode(.copy(next))) == [
                "--deltag", "perssd.epoch=7", "--addtag", "perssd.epoch=8",
            ])
    }

    /// lvm(8) on names that are reserved; device-mapper's names have at most 127 bytes.
    @Test(arguments: ["a", "a-tmeta", "pvmove0", "snapshot", String(repeating: "-", count: 64)])
    func namesAreOnesThatLVMAllows(volume: String) {
        for name in [LVMNames.copy(volume), LVMNames.snapshot(volume)] {
            #expect(!["snapshot", "pvmove"].contains { name.hasPrefix($0) })
            #expect(!["_tmeta", "_tdata", "_pmspare", "_rimage", "_mlog"].contains { name.contains($0) })
            let group = String(repeating: "-", count: LVMNames.longestGroup)
            #expect(LVMNames.deviceMapperName(group, name).utf8.count <= 127)
        }
        #expect(LVMNames.snapshot(volume) != LVMNames.snapshot(volume))
    }

    @Test func deviceMapperDoublesHyphens() {
        #expect(LVMNames.deviceMapperName("my-vg", "c.vol-abc") == "my--vg-c.vol--abc")
        #expect(LVMNames.deviceMapperName("pvg", "pool", layer: "-tpool") == "pvg-pool-tpool")
    }

    @Test(arguments: ["", ".", "..", "-a", "a/b", "a b", "ä", String(repeating: "a", count: 25)])
    func groupsWithImpossibleNamesAreRefused(name: String) {
        #expect(throws: PerSSDError.self) { try LVMNames.validateGroup(name) }
    }
}
