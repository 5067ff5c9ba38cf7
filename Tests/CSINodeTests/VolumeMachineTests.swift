import Errors
import Testing

@testable import CSINode

private let first = Publication(
    path: "/a", access: .mount(fileSystem: "ext4", flags: []), isReadOnly: false, isExclusive: false)
private let second = Publication(
    path: "/b", access: .mount(fileSystem: "ext4", flags: []), isReadOnly: false, isExclusive: false)

/// A third target, which reads what many nodes read.
private let reader = Publication(
    path: "/r", access: .mount(fileSystem: "ext4", flags: []), isReadOnly: true, isExclusive: false, isShared: true)

/// What a machine that follows its work's success looks like.
private func publishedMachine(_ publications: Publication...) -> VolumeMachine {
    var machine = VolumeMachine()
    for publication in publications {
        #expect(machine.publish(publication) == .start(.publish(publication)))
        machine.opened()
        machine.published(publication)
    }
    return machine
}

@Suite struct VolumeMachineTests {
    @Test func aRepeatedPublishJoinsTheWorkAndThenIsDone() {
        var machine = VolumeMachine()
        #expect(machine.publish(first) == .start(.publish(first)))
        #expect(machine.publish(first) == .join(.access))
        machine.opened()
        machine.published(first)
        #expect(machine.publish(first) == .done)
        #expect(machine.isDirty)
    }

    @Test func growingIsForWhatIsPublishedAndKeepsAllElseAway() {
        let wanted = Expansion(path: "/a", requiredBytes: 1, limitBytes: 0)
        var machine = VolumeMachine()
        guard case .refuse(let error) = machine.expand(wanted) else { return #expect(Bool(false)) }
        #expect(error.code == .notFound)
        machine = publishedMachine(first)
        #expect(machine.expand(wanted) == .start(.expand(wanted)))
        #expect(machine.expand(wanted) == .join(.access))
        #expect(machine.expand(Expansion(path: "/a", requiredBytes: 2, limitBytes: 0)) == .await(.access))
        #expect(machine.publish(second) == .await(.access))
        #expect(machine.unpublish(path: "/a") == .await(.access))
        #expect(machine.settle() == .done)
        machine.expanded()
        #expect(machine.targets.keys.sorted() == ["/a"] && machine.isDirty)
        #expect(machine.expand(wanted) == .start(.expand(wanted)))
        machine.accessFailed()
        #expect(machine.unpublish(path: "/a") == .start(.unpublish(path: "/a")))
        #expect(machine.expand(wanted) == .await(.access))
    }

    @Test func aVolumeGrowsWhileItsLastCutIsSent() {
        var machine = publishedMachine(first)
        #expect(machine.unpublish(path: "/a") == .start(.unpublish(path: "/a")))
        machine.unpublished(path: "/a")
        #expect(machine.settle() == .start(.stageOut))
        machine.cutMade(isIndependent: true)
        #expect(machine.publish(first) == .start(.publish(first)))
        machine.opened()
        machine.published(first)
        let wanted = Expansion(path: "/a", requiredBytes: 1, limitBytes: 0)
        #expect(machine.expand(wanted) == .start(.expand(wanted)))
        machine.committed()
        machine.expanded()
        #expect(machine.isDirty && machine.access == .none && machine.stageOut == .none)
    }

    @Test func aPublishInAnotherWayAtTheSamePathIsRefused() {
        var machine = publishedMachine(first)
        var readOnly = first
        readOnly.isReadOnly = true
        guard case .refuse(let error) = machine.publish(readOnly) else { return #expect(Bool(false)) }
        #expect(error.code == .alreadyExists)
    }

    @Test func flagsThatARestartCannotKnowDoNotRefuseARetry() {
        var found = first
        found.access = .mount(fileSystem: "ext4", flags: nil)
        var wanted = first
        wanted.access = .mount(fileSystem: "ext4", flags: ["noatime"])
        var machine = VolumeMachine(targets: ["/a": found], isDirty: true)
        #expect(machine.publish(wanted) == .done)
    }

    @Test func anExclusiveVolumeHasOneTarget() {
        var exclusive = second
        exclusive.isExclusive = true
        var machine = publishedMachine(first)
        guard case .refuse(let error) = machine.publish(exclusive) else { return #expect(Bool(false)) }
        #expect(error.code == .failedPrecondition)
    }

    @Test func aFileSystemAndTheRawDeviceAreNotPublishedTogether() {
        var block = second
        block.access = .block
        var machine = publishedMachine(first)
        guard case .refuse(let error) = machine.publish(block) else { return #expect(Bool(false)) }
        #expect(error.code == .failedPrecondition)
    }

    @Test func onlyTheLastTargetStagesOut() {
        var machine = publishedMachine(first, second)
        #expect(machine.unpublish(path: "/a") == .start(.unpublish(path: "/a")))
        machine.unpublished(path: "/a")
        #expect(machine.settle() == .done)
        #expect(machine.unpublish(path: "/b") == .start(.unpublish(path: "/b")))
        machine.unpublished(path: "/b")
        #expect(machine.settle() == .start(.stageOut))
        #expect(machine.settle() == .join(.stageOut))
    }

    @Test func aPublishWaitsForACutThatDependsOnTheCopyAndNotForOneThatDoesNot() {
        for isIndependent in [false, true] {
            var machine = publishedMachine(first)
            _ = machine.unpublish(path: "/a")
            machine.unpublished(path: "/a")
            #expect(machine.settle() == .start(.stageOut))
            #expect(machine.publish(first) == .await(.stageOut))
            machine.cutMade(isIndependent: isIndependent)
            #expect(machine.publish(first) == (isIndependent ? .start(.publish(first)) : .await(.stageOut)))
        }
    }

    @Test func whatIsWrittenAfterTheCutStaysDirtyWhenTheCutIsCommitted() {
        var machine = publishedMachine(first)
        _ = machine.unpublish(path: "/a")
        machine.unpublished(path: "/a")
        _ = machine.settle()
        machine.cutMade(isIndependent: true)
        _ = machine.publish(first)
        machine.opened()
        machine.published(first)
        let isClosing = machine.beginClosing()
        #expect(!isClosing)
        machine.committed()
        #expect(machine.isDirty)
        _ = machine.unpublish(path: "/a")
        machine.unpublished(path: "/a")
        #expect(machine.settle() == .start(.stageOut))
    }

    @Test func nobodyOpensTheVolumeWhileItsHeadIsBeingClosed() {
        var machine = VolumeMachine(isDirty: true)
        _ = machine.settle()
        machine.cutMade(isIndependent: true)
        let isClosing = machine.beginClosing()
        #expect(isClosing)
        #expect(machine.publish(first) == .await(.stageOut))
        machine.committed()
        #expect(!machine.isDirty)
        #expect(machine.publish(first) == .start(.publish(first)))
    }

    @Test func aPublishUnderWayKeepsTheHeadOpen() {
        var machine = VolumeMachine(isDirty: true)
        _ = machine.settle()
        machine.cutMade(isIndependent: true)
        _ = machine.publish(first)
        let isClosing = machine.beginClosing()
        #expect(!isClosing)
        machine.committed()
        machine.accessFailed()
        #expect(machine.isDirty)
    }

    @Test func unpublishingWhatIsBeingPublishedStopsIt() {
        var machine = VolumeMachine()
        _ = machine.publish(first)
        #expect(machine.unpublish(path: "/a") == .stop(.access))
        machine.accessFailed()
        #expect(machine.unpublish(path: "/a") == .start(.unpublish(path: "/a")))
    }

    @Test func aCheckpointCutsUnderThePodsAndLeavesTheVolumeDirty() {
        var machine = publishedMachine(first)
        #expect(machine.checkpoint() == .start(.cut))
        // Its cut may have been made before another caller asked.
        #expect(machine.checkpoint() == .await(.access))
        #expect(machine.unpublish(path: "/a") == .await(.access))
        #expect(machine.publish(second) == .await(.access))
        machine.cutWhilePublished()
        #expect(machine.checkpoint() == .await(.stageOut))
        #expect(machine.publish(second) == .start(.publish(second)))
        machine.opened()
        machine.published(second)
        let isClosing = machine.beginClosing()
        #expect(!isClosing)
        machine.committed()
        #expect(machine.isDirty && machine.checkpoint() == .start(.cut))
    }

    @Test func aVolumeThatIsUnpublishedDuringACheckpointIsStagedOutOnceMore() {
        var machine = publishedMachine(first)
        _ = machine.checkpoint()
        machine.cutWhilePublished()
        #expect(machine.unpublish(path: "/a") == .start(.unpublish(path: "/a")))
        machine.unpublished(path: "/a")
        #expect(machine.settle() == .await(.stageOut))
        let isClosing = machine.beginClosing()
        #expect(!isClosing)
        machine.committed()
        #expect(machine.settle() == .start(.stageOut))
    }

    @Test func aCheckpointOfWhatIsNotPublishedIsItsStageOut() {
        var machine = VolumeMachine()
        #expect(machine.checkpoint() == .done)
        machine = VolumeMachine(isDirty: true)
        #expect(machine.checkpoint() == .start(.stageOut))
        #expect(machine.checkpoint() == .join(.stageOut))
        // Published for reading alone, it is the generation that it was restored from.
        machine = VolumeMachine()
        _ = machine.publish(first)
        machine.published(first)
        #expect(machine.checkpoint() == .done)
    }

    @Test func whatManyNodesReadIsCommittedFirst() {
        var machine = VolumeMachine(isDirty: true)
        #expect(machine.publish(reader) == .start(.stageOut))
        #expect(machine.publish(reader) == .await(.stageOut))
        machine.cutMade(isIndependent: true)
        #expect(machine.publish(reader) == .await(.stageOut))
        let isClosing = machine.beginClosing()
        #expect(isClosing)
        machine.committed()
        #expect(machine.publish(reader) == .start(.publish(reader)))
        machine.published(reader)
        #expect(machine.publish(reader) == .done && !machine.isDirty && !machine.isIdle)
        #expect(machine.settle() == .done && machine.checkpoint() == .done)
    }

    @Test func aNodeReadsForManyOrWritesAndNeverBoth() {
        var machine = publishedMachine(first)
        guard case .refuse(let error) = machine.publish(reader) else { return #expect(Bool(false)) }
        #expect(error.code == .failedPrecondition && error.message.contains("to write"))
        machine = VolumeMachine()
        _ = machine.publish(reader)
        machine.published(reader)
        var own = second
        own.isReadOnly = true
        for other in [second, own] {
            guard case .refuse(let error) = machine.publish(other) else { return #expect(Bool(false)) }
            #expect(error.code == .failedPrecondition && error.message.contains("many nodes"))
        }
        var another = reader
        another.path = "/s"
        #expect(machine.publish(another) == .start(.publish(another)))
    }

    @Test func aFailedStageOutIsBegunAnew() {
        var machine = VolumeMachine(isDirty: true)
        #expect(machine.settle() == .start(.stageOut))
        machine.cutMade(isIndependent: true)
        machine.stageOutFailed()
        #expect(!machine.isIdle)
        #expect(machine.settle() == .start(.stageOut))
    }
}

/// Every order of calls, work and failures of two targets, up to a depth, against a model of the bytes.
@Suite struct VolumeMachineExploration {
    /// The machine in a world that counts what was written and what is committed.
    struct World: Hashable {
        var machine: VolumeMachine
        /// Counts up to 2, so that the world stays finite: what the copy holds, the cut holds, the bucket holds.
        var written = 0
        var cut: Int?
        var committed = 0
        var openForWriting: Set<String> = []
        /// What the one who reads for many nodes found.
        var reading: Int?
        /// Whether the commit under way will also close the head, and what the head says.
        var isClosing = false
        var isHeadOpen = false
        /// Whether the publish under way has said so: each one does, before anybody can write.
        var hasOpened = false

        /// A pod may write whenever its target is published.
        mutating func write() {
            guard !openForWriting.isEmpty, written < 3 else { return }
            written += 1
        }
    }

    enum Event: CaseIterable {
        case publishA, publishB, publishReader, unpublishA, unpublishB, unpublishReader, expandA, settle, checkpoint,
            write
        case openHead, accessSucceeds, accessFails, cutIndependent, cutDependent, askToClose, commit, stageOutFails
    }

    func apply(_ event: Event, to world: World) throws -> World? {
        var next = world
        switch event {
        case .publishA: _ = next.machine.publish(first)
        case .publishB: _ = next.machine.publish(second)
        case .publishReader: _ = next.machine.publish(reader)
        case .unpublishReader: _ = next.machine.unpublish(path: "/r")
        case .unpublishA: _ = next.machine.unpublish(path: "/a")
        case .unpublishB: _ = next.machine.unpublish(path: "/b")
        case .expandA: _ = next.machine.expand(Expansion(path: "/a", requiredBytes: 1, limitBytes: 0))
        case .settle: _ = next.machine.settle()
        case .checkpoint: _ = next.machine.checkpoint()
        case .write: next.write()
        case .openHead:
            guard case .publishing(let publication) = world.machine.access, !publication.isShared else { return nil }
            next.machine.opened()
            next.isHeadOpen = true
            next.hasOpened = true
        case .accessSucceeds:
            switch world.machine.access {
            case .none: return nil
            case .publishing(reader):
                next.machine.published(reader)
                next.reading = world.written
            case .publishing(let publication):
                guard world.hasOpened else { return nil }
                next.hasOpened = false
                // Whoever opens the device may write at once.
                #expect(world.machine.stageOut != .cutting && world.machine.stageOut != .sendingCopy)
                next.machine.published(publication)
                next.openForWriting.insert(publication.path)
            case .unpublishing(let path):
                next.machine.unpublished(path: path)
                next.openForWriting.remove(path)
                if path == reader.path { next.reading = nil }
            case .expanding:
                // Growing writes, so it needs the volume open, and no cut that is the copy itself.
                #expect(!world.openForWriting.isEmpty && world.isHeadOpen)
                #expect([.none, .sending(writtenSince: true)].contains(world.machine.stageOut))
                next.write()
                next.machine.expanded()
            case .cutting:
                #expect(!world.openForWriting.isEmpty && world.isHeadOpen && world.cut == nil)
                next.cut = world.written
                next.machine.cutWhilePublished()
            }
        case .accessFails:
            guard world.machine.access != .none else { return nil }
            next.machine.accessFailed()
            next.hasOpened = false
        case .cutIndependent, .cutDependent:
            guard world.machine.stageOut == .cutting else { return nil }
            #expect(world.openForWriting.isEmpty)
            next.cut = world.written
            next.machine.cutMade(isIndependent: event == .cutIndependent)
        case .askToClose:
            guard world.cut != nil, !world.isClosing else { return nil }
            next.isClosing = next.machine.beginClosing()
        case .commit:
            switch world.machine.stageOut {
            case .sending, .sendingCopy, .closing: next.committed = try #require(world.cut)
            case .none, .cutting: return nil
            }
            if world.isClosing {
                #expect(world.cut == world.written)
                #expect(world.openForWriting.isEmpty)
                next.isHeadOpen = false
            }
            next.isClosing = false
            next.cut = nil
            next.machine.committed()
        case .stageOutFails:
            guard world.machine.stageOut != .none else { return nil }
            next.cut = nil
            next.isClosing = false
            next.machine.stageOutFailed()
        }
        return next
    }

    @Test func noOrderOfEventsLosesOrMixesWhatWasWritten() throws {
        var seen: Set<World> = []
        var frontier = [World(machine: VolumeMachine())]
        while let world = frontier.popLast() {
            guard seen.insert(world).inserted else { continue }
            if world.written > world.committed {
                #expect(world.machine.isDirty, "written \(world.written), committed \(world.committed)")
                #expect(!world.machine.isIdle)
            }
            if world.machine.isIdle { #expect(world.openForWriting.isEmpty && !world.isHeadOpen) }
            // What is open for writing is open in the bucket's eyes, or another node could be given it.
            if !world.openForWriting.isEmpty { #expect(world.isHeadOpen) }
            // What many nodes read is all committed, and stays as it is.
            if let reading = world.reading {
                #expect(reading == world.written && reading == world.committed)
                #expect(world.openForWriting.isEmpty && !world.isHeadOpen)
            }
            if world.machine.stageOut == .sendingCopy { #expect(world.cut == world.written) }
            for event in Event.allCases {
                if let next = try apply(event, to: world) { frontier.append(next) }
            }
        }
        // The world is as large as it was thought to be: an exploration that stops early proves nothing.
        #expect(seen.count > 500, "\(seen.count) states")
    }
}
