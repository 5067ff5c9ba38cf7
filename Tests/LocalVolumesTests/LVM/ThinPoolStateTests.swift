import Errors
import Testing

@testable import LocalVolumes

@Suite struct ThinPoolStateTests {
    private static let gibibyte: UInt64 = 1 << 30

    private func volume(
        _ name: String, _ tags: Set<String>, id: UInt32? = 1, size: UInt64 = gibibyte, type: String = "thin",
        pool: String = "perssd", data: Double? = nil
    ) -> LogicalVolume {
        LogicalVolume(
            name: name, sizeBytes: size, tags: tags, segmentType: type, pool: pool, thinID: id, isActive: true,
            dataPercent: data, metadataPercent: nil, metadataBytes: nil, chunkBytes: nil, health: "", needsCheck: false)
    }

    private func thinPool(size: UInt64 = 100 * gibibyte) -> LogicalVolume {
        volume("perssd", LVMTags.thinPool, id: nil, size: size, type: "thin-pool", pool: "")
    }

    private func copy(_ volume: String, id: UInt32 = 1, state: CopyRecord.State = .dirty, size: UInt64 = gibibyte)
        -> LogicalVolume
    {
        self.volume(
            LVMNames.copy(volume),
            LVMTags.encode(
                .copy(
                    CopyRecord(
                        volume: volume, incarnation: "i", lineage: "l", epoch: 1, generation: 1, state: state,
                        sizeBytes: size, lastUsed: 0))), id: id, size: size)
    }

    private func state(_ volumes: [LogicalVolume], size: UInt64 = 100 * gibibyte) throws -> ThinPoolState {
        try ThinPoolState([thinPool(size: size)] + volumes, group: "g")
    }

    @Test func volumesAreSortedByTheirTags() throws {
        let state = try state([
            copy("a"), volume("s2", LVMTags.encode(.cut(volume: "a")), id: 5),
            volume("s1", LVMTags.encode(.cut(volume: "a")), id: 4),
            volume("b9", LVMTags.encode(.base(volume: "a", generation: 9)), id: 2),
            volume("b8", LVMTags.encode(.base(volume: "a", generation: 8)), id: 3),
            volume("theirs", ["backup"]), volume("root", [], type: "linear", pool: ""),
        ])
        #expect(state.copies.keys.sorted() == ["a"])
        #expect(state.cuts["a"]?.map(\.name) == ["s1", "s2"])
        #expect(state.bases["a"]?.map(\.generation) == [8, 9])
        #expect(state.damaged.isEmpty && state.findings.isEmpty)
        #expect(state.foreignBytes == Self.gibibyte)
    }

    @Test func whatMakesNoSenseIsDamageAndIsCounted() throws {
        let wrong = copy("b").tags.subtracting(["perssd.epoch=1"]).union(["perssd.epoch=x"])
        let state = try state([
            copy("a", size: 2 * Self.gibibyte), volume("copy.b", wrong),
            volume("copy.c", copy("c").tags, size: Self.gibibyte / 2), copy("d"), copy("d", id: 9),
            volume("stranger", ["perssd"]), volume("copy.e", copy("e").tags, type: "linear", pool: ""),
        ])
        #expect(state.copies.keys.sorted() == ["a"])
        #expect(state.damaged.keys.sorted() == ["b", "c", "d", "e"])
        #expect(state.damaged["b"]?.error.description.contains("perssd.epoch is 'x'") == true)
        #expect(state.damaged["b"]?.error.description.contains("lvremove") == true)
        #expect(state.findings.count == 1)
        #expect(state.promisedBytes >= 6 * Self.gibibyte)
        // What belongs to a damaged copy is left alone, too.
        #expect(LVMPool.unwanted(state).isEmpty)
    }

    @Test func onlyWhatNoCopyNeedsIsUnwanted() throws {
        func cut(_ owner: String, _ id: UInt32) -> LogicalVolume {
            volume("cut-\(owner)-\(id)", LVMTags.encode(.cut(volume: owner)), id: id)
        }
        func base(_ owner: String, _ id: UInt32) -> LogicalVolume {
            volume("base-\(owner)-\(id)", LVMTags.encode(.base(volume: owner, generation: UInt64(id))), id: id)
        }
        let state = try state([
            copy("dirty"), cut("dirty", 11), cut("dirty", 12), base("dirty", 13), base("dirty", 14),
            copy("clean", state: .clean), cut("clean", 15), base("clean", 16), cut("gone", 17), base("gone", 18),
            volume("broken", LVMTags.encode(.cut(volume: "broken")).union(["perssd.volume=broken2"])),
        ])
        #expect(
            LVMPool.unwanted(state).map(\.name) == [
                "base-dirty-13", "base-gone-18", "cut-clean-15", "cut-dirty-11", "cut-gone-17",
            ])
    }

    @Test func aGroupWithoutOurThinPoolIsRefused() {
        for other in [
            [], [volume("perssd", [], type: "thin-pool")], [volume("perssd", LVMTags.thinPool, type: "linear")],
            [volume("other", LVMTags.thinPool, type: "thin-pool")],
        ] as [[LogicalVolume]] {
            #expect(throws: PerSSDError.self) { try ThinPoolState(other, group: "g") }
        }
    }

    @Test func capacityIsPromisedOnceAndAMarginStays() throws {
        let state = try state([copy("a", size: 10 * Self.gibibyte)])
        #expect(state.totalBytes(overcommit: 1) == 95 * Self.gibibyte)
        #expect(state.freeBytes(overcommit: 1) == 85 * Self.gibibyte)
        #expect(state.freeBytes(overcommit: 2) == 180 * Self.gibibyte)
        #expect(try self.state([], size: 1 << 40).margin == 16 << 30)
        var short = state
        short.pool.metadataPercent = 80
        #expect(short.freeBytes(overcommit: 1) == 0)
    }

    @Test func aPoolThatCouldFillUpIsShortFromAMarginOn() throws {
        var full = try state([copy("a", size: 10 * Self.gibibyte), copy("b", size: 85 * Self.gibibyte)])
        full.pool.dataPercent = 95
        // What was promised may be written.
        #expect(full.shortage(group: "g") == nil)
        let (cut, base) = (LVMTags.Meaning.cut(volume: "a"), LVMTags.Meaning.base(volume: "a", generation: 1))
        let more: [LogicalVolume] = [
            volume("theirs", ["backup"], id: 7, size: 6 * Self.gibibyte),
            volume("cut", LVMTags.encode(cut), id: 8, size: 10 * Self.gibibyte, data: 60),
            volume("base", LVMTags.encode(base), id: 9, size: 10 * Self.gibibyte, data: 60),
        ]
        for one in more {
            var state = try state([copy("a", size: 10 * Self.gibibyte), copy("b", size: 85 * Self.gibibyte), one])
            state.pool.dataPercent = 94.9
            #expect(state.shortage(group: "g") == nil)
            state.pool.dataPercent = 95
            let shortage = state.shortage(group: "g")
            #expect(shortage?.code == .resourceExhausted && shortage?.message.contains("95.0 % full") == true)
            #expect(shortage?.remedy?.contains("vgextend") == true)
            #expect(state.freeBytes(overcommit: 2) == 0)
            #expect(state.dispensableBases(overcommit: 2).count == (one.name == "base" ? 1 : 0))
        }
        var short = full
        short.pool.metadataPercent = 80
        #expect(short.shortage(group: "g")?.remedy?.contains("--poolmetadatasize") == true)
    }

    @Test func basesGoTheLargestFirstWhenTheRoomGoes() throws {
        let base = { (owner: String, id: UInt32, percent: Double) in
            self.volume(
                "base-\(id)", LVMTags.encode(.base(volume: owner, generation: 1)), id: id, size: 40 * Self.gibibyte,
                data: percent)
        }
        let copies = ["a", "b"].map { copy($0, size: 40 * Self.gibibyte) }
        #expect(try state(copies + [base("a", 2, 10), base("b", 3, 25)]).dispensableBases(overcommit: 1).isEmpty)
        let two = [base("a", 2, 50), base("b", 3, 25)]
        #expect(try state(copies + two).dispensableBases(overcommit: 1).map(\.volume.name) == ["base-2"])
        let room = try state(copies + [base("a", 2, 10)])
        #expect(room.dispensableBases(overcommit: 1, adding: 16 * Self.gibibyte).isEmpty)
        #expect(room.dispensableBases(overcommit: 1, adding: 17 * Self.gibibyte).count == 1)
        var short = try state([copies[0], base("a", 2, 1)])
        short.pool.metadataPercent = 90
        #expect(short.dispensableBases(overcommit: 1).count == 1)
    }

    @Test(arguments: [
        ("metadata_read_only", false, 10, PerSSDError.Code.failedPrecondition, "lvconvert --repair"),
        ("failed", false, 10, .failedPrecondition, "lvconvert --repair"),
        ("", true, 10, .failedPrecondition, "lvconvert --repair"),
        ("out_of_data", false, 100, .resourceExhausted, "vgextend"),
        ("", false, 100, .resourceExhausted, "vgextend"), ("partial", false, 1, .unavailable, "dmesg"),
    ])
    func aPoolThatIsNotWellIsReported(
        health: String, check: Bool, data: Double, code: PerSSDError.Code, remedy: String
    ) throws {
        var state = try state([])
        try state.checkHealth(group: "g")
        let isMirrored = health == "partial"
        (state.pool.health, state.pool.needsCheck, state.pool.dataPercent) = (health, check, data)
        let error = #expect(throws: PerSSDError.self) { try state.checkHealth(group: "g") }
        #expect(error?.code == code && error?.remedy?.contains(remedy) == true)
        // A mirror goes on with one leg.
        if isMirrored { try state.checkHealth(group: "g", isMirrored: true) }
    }
}
