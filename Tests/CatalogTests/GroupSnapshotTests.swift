import CatalogTestSupport
import Errors
import Foundation
import Testing

@testable import Persistence

@Suite struct GroupSnapshotTests {
    let store = MemoryStore()
    let clock = TestClock(start)
    var catalog: Catalog { Catalog(store: store, now: { [clock] in clock.now }) }

    /// Volumes with one generation each, which nobody has.
    private func volumes(_ names: String...) async throws -> [VolumeID] {
        var volumes: [VolumeID] = []
        for name in names {
            let volume = try await catalog.createVolume(newVolume(name)).volume
            try await catalog.commitOne(volume)
            volumes.append(volume)
        }
        return volumes.sorted()
    }

    private func begin(_ volumes: [VolumeID], _ name: String = "group") async throws -> GroupCut {
        try #require(try await catalog.beginGroup(name: name, of: Set(volumes)).begun)
    }

    private func open(_ volume: VolumeID, by node: NodeReference = nodeA) async throws -> Head {
        try await catalog.updateHead(volume) { try $0.opening(by: node, expectedEpoch: nil, now: start) }.value
    }

    private func listed() async throws -> [SnapshotRecord] { try await catalog.snapshots(after: nil, limit: 100) }
    private var snapshotKeys: [String] { store.keys.filter { $0.hasPrefix("snapshots/") } }

    @Test func itsSnapshotsAreThereWhenAllAreCutAndNotBefore() async throws {
        let volumes = try await volumes("a", "b")
        let begun = try await begin(volumes)
        #expect(begun.record.members.map(\.volume) == volumes && begun.record.nodes.isEmpty)
        #expect(snapshotKeys.count == 2)
        #expect(try await listed().isEmpty)
        for member in begun.record.members {
            await expectError(.notFound) { _ = try await catalog.snapshot(member.snapshot) }
            await expectError(.notFound) {
                _ = try await catalog.createVolume(newVolume("clone", source: .snapshot(member.snapshot)))
            }
            // Nobody sees it, so that nobody can delete it.
            try await catalog.deleteSnapshot(member.snapshot)
        }
        await expectError(.notFound) { _ = try await catalog.group(begun.record.group) }
        try await catalog.requireUnwritten(begun)
        let made = try await catalog.completeGroup(begun, cutAt: start)
        #expect(try await catalog.group(begun.record.group) == made)
        let members = try await listed()
        #expect(Set(members.map(\.snapshot)) == Set(made.members.map(\.snapshot)))
        #expect(members.allSatisfy { $0.group == made.group && $0.isReady && $0.generation?.number == 1 })
        #expect(try await catalog.beginGroup(name: "group", of: Set(volumes)).standing == made)
        let clone = try await catalog.createVolume(newVolume("clone", source: .snapshot(made.members[0].snapshot)))
        #expect(
            try await catalog.volume(clone.volume).head.newest == members.first { $0.volume == volumes[0] }?.generation)
    }

    @Test func aHistoryNamesItsSnapshotsWhenItIsMade() async throws {
        let volumes = try await volumes("a", "b")
        let listing = try await catalog.volume(volumes[0])
        let newest = try #require(listing.head.newest)
        func named() async throws -> [SnapshotID] {
            let marks = try await catalog.marks(of: listing, on: [newest])
            #expect(marks.problems.isEmpty)
            return (marks.snapshots[newest] ?? []).map(\.snapshot)
        }
        let begun = try await begin(volumes)
        #expect(snapshotKeys.count == 2)
        #expect(try await named().isEmpty)
        let alone = try await catalog.createSnapshot(name: "alone", of: volumes[0])
        #expect(try await named() == [alone.snapshot])
        let made = try await catalog.completeGroup(begun, cutAt: start)
        #expect(try await Set(named()) == [alone.snapshot, made.members[0].snapshot])
    }

    @Test func aNameIsForOneSetOfVolumes() async throws {
        let volumes = try await volumes("a", "b", "c")
        let begun = try await begin(Array(volumes.prefix(2)))
        for other in [Set(volumes), Set(volumes.dropFirst()), Set(volumes.prefix(1))] {
            await expectError(.alreadyExists, volumes[0].rawValue) {
                _ = try await catalog.beginGroup(name: "group", of: other)
            }
        }
        let made = try await catalog.completeGroup(begun, cutAt: start)
        await expectError(.alreadyExists) { _ = try await catalog.beginGroup(name: "group", of: Set(volumes)) }
        // A member's own name is taken, too.
        let member = try await catalog.snapshot(made.members[0].snapshot)
        await expectError(.alreadyExists) {
            _ = try await catalog.createSnapshot(name: member.name, of: member.volume)
        }
        await expectError(.notFound, VolumeID(name: "never").rawValue) {
            _ = try await catalog.beginGroup(name: "other", of: [volumes[0], VolumeID(name: "never")])
        }
        #expect(snapshotKeys.count == 2)
    }

    @Test func ofWhatFailsNothingRemains() async throws {
        let volumes = try await volumes("a", "b")
        let begun = try await begin(volumes)
        let head = try await open(volumes[1])
        await expectError(.aborted, volumes[1].rawValue) { try await catalog.requireUnwritten(begun) }
        try await catalog.abandonGroup(begun)
        #expect(snapshotKeys.isEmpty)
        await expectError(.aborted) { _ = try await catalog.completeGroup(begun, cutAt: start) }
        // The next try finds the volume written, and knows by whom.
        let second = try await begin(volumes)
        #expect(second.record.incarnation != begun.record.incarnation)
        let member = try #require(second.record.members.last)
        #expect(member.node == nodeA && member.epoch == head.epoch && second.record.nodes == [nodeA])
        #expect(try await catalog.groupToCut(second.record.group, second.record.incarnation) == second.record)
        await expectError(.aborted) {
            _ = try await catalog.groupToCut(begun.record.group, begun.record.incarnation)
        }
        // Whoever comes late with the first one changes nothing.
        try await catalog.abandonGroup(begun)
        #expect(snapshotKeys.count == 2)
        // Closed with a commit of its own, it is not what was planned either.
        _ = try await catalog.commitOne(volumes[0])
        await expectError(.aborted, volumes[0].rawValue) { try await catalog.requireUnwritten(second) }
    }

    @Test func theOneThatCameLastTakesOver() async throws {
        let volumes = try await volumes("a", "b")
        let first = try await begin(volumes)
        let second = try await begin(volumes)
        #expect(snapshotKeys.count == 2)
        await expectError(.aborted, "another call") { _ = try await catalog.completeGroup(first, cutAt: start) }
        #expect(try await catalog.abandonGroup(first) == nil)
        let made = try await catalog.completeGroup(second, cutAt: start)
        // It is made, whoever gives up then.
        #expect(try await catalog.abandonGroup(second) == made)
        #expect(try await catalog.members(of: made).count == 2)
        await expectError(.aborted) { _ = try await catalog.groupToCut(made.group, made.incarnation) }
    }

    @Test func itGoesAsAWhole() async throws {
        let volumes = try await volumes("a", "b")
        let made = try await catalog.completeGroup(try await begin(volumes), cutAt: start)
        let snapshots = Set(made.members.map(\.snapshot))
        await expectError(.invalidArgument, made.group.rawValue) {
            try await catalog.deleteSnapshot(made.members[0].snapshot)
        }
        for wrong in [Set(snapshots.prefix(1)), [SnapshotID(name: "x")], snapshots.union([SnapshotID(name: "x")])] {
            await expectError(.invalidArgument, "snapshot_ids") {
                try await catalog.deleteGroup(made.group, snapshots: wrong)
            }
        }
        #expect(try await listed().count == 2)
        for _ in 0..<2 { try await catalog.deleteGroup(made.group, snapshots: snapshots) }
        #expect(try await listed().isEmpty && snapshotKeys.isEmpty)
        await expectError(.notFound) { _ = try await catalog.group(made.group) }
        try await catalog.deleteGroup(GroupSnapshotID(name: "never"), snapshots: snapshots)
        // The next of the name has members of its own.
        let next = try await catalog.completeGroup(try await begin(volumes), cutAt: start)
        #expect(snapshots.isDisjoint(with: next.members.map(\.snapshot)))
    }

    /// Wherever whoever makes it dies, the next try makes it, and leaves nothing of the first.
    @Test(arguments: MemoryStore.Death.allCases)
    func aTryThatDiesIsInNobodysWay(death: MemoryStore.Death) async throws {
        let volumes = try await volumes("a", "b")
        for index in 0..<100 {
            let name = "group-\(index)"
            let catalog = catalog
            let wasReached = await store.dying(at: index, death) {
                guard let begun = try await catalog.beginGroup(name: name, of: Set(volumes)).begun else { return }
                try await catalog.requireUnwritten(begun)
                _ = try await catalog.completeGroup(begun, cutAt: start)
            }
            let visible = try await listed().count
            #expect(visible == 0 || visible == 2, "at step \(index)")
            let (standing, begun) = try await catalog.beginGroup(name: name, of: Set(volumes))
            #expect((standing != nil) == (visible == 2))
            let made: GroupSnapshotRecord
            if let begun { made = try await catalog.completeGroup(begun, cutAt: start) } else { made = standing! }
            #expect(Set(snapshotKeys) == Set(made.members.map { "snapshots/\($0.snapshot).json" }), "at step \(index)")
            // And so with its deletion.
            _ = await store.dying(at: index % 8, death) {
                try await catalog.deleteGroup(made.group, snapshots: [])
            }
            try await catalog.deleteGroup(made.group, snapshots: [])
            #expect(snapshotKeys.isEmpty, "at step \(index)")
            guard wasReached else { return }
        }
        Issue.record("it takes more steps than are tried")
    }

    @Test func whatNobodyMakesAnyMoreKeepsNothing() async throws {
        let volumes = try await volumes("a", "b")
        let begun = try await begin(volumes)
        let records = try await catalog.all(SnapshotRecord.self, below: CatalogKey.snapshots)
        #expect(records.count == 2)
        #expect(try await catalog.keeping(records) == records)
        // Its maker has died.
        clock.advance(86401)
        #expect(try await catalog.keeping(records).isEmpty)
        await expectError(.aborted, "too long ago") { _ = try await catalog.completeGroup(begun, cutAt: start) }
        // What a later try has made is kept, whatever is still there of the former one.
        let made = try await catalog.completeGroup(try await begin(volumes), cutAt: start)
        clock.advance(86401)
        let members = try await catalog.members(of: made)
        #expect(try await catalog.keeping(records + members) == members)
        try await catalog.deleteGroup(made.group, snapshots: [])
        #expect(try await catalog.keeping(members).isEmpty)
    }

    @Test func whatIsCommittedIsReadyAndWhatIsLostIsSaid() async throws {
        let volumes = try await volumes("a", "b")
        var heads: [Head] = []
        for volume in volumes { heads.append(try await open(volume)) }
        let made = try await catalog.completeGroup(try await begin(volumes), cutAt: start)
        for (member, head) in zip(made.members, heads) {
            _ = try await catalog.noteCut(of: member.snapshot, at: start, by: nodeA, epoch: head.epoch)
        }
        // Nobody has said so, but the generation of the first is there.
        try await catalog.commitOne(volumes[0], closing: false)
        let members = try await catalog.members(of: made)
        #expect(members.allSatisfy { !$0.isReady && $0.delivery?.cutAt == start })
        #expect(try await catalog.settled(members[0]).generation?.number == 2)
        #expect(try await !catalog.settled(members[1]).isReady)
        _ = try await catalog.updateHead(volumes[1]) { $0.revoking(now: start) }
        await expectError(.failedPrecondition, "was cut on node c/a", "newest generation of the volume is 1") {
            _ = try await catalog.settled(members[1])
        }
    }
}
