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

    // MARK: Held back

    /// A machine whose only pod has gone, and whose work is held back.
    private func heldBackMachine() -> VolumeMachine {
        var machine = publishedMachine(first)
        #expect(machine.unpublish(path: "/a") == .start(.unpublish(path: "/a")))
        #expect(machine.mayBeHeldBack(after: "/a"))
        machine.unpublished(path: "/a")
        machine.heldBack()
        return machine
    }

    @Test func whatIsHeldBackIsNeitherStagedOutNorEvicted() {
        let machine = heldBackMachine()
        #expect(machine.isHeldBack && machine.isDirty && !machine.isIdle)
        #expect(machine.stageOut == .none)
    }

    @Test func aPodThatComesBackFindsNothingUnderWay() {
        var machine = heldBackMachine()
        #expect(machine.publish(second) == .start(.publish(second)))
        // Until it opens the volume, it may still fail.
        #expect(machine.isHeldBack)
        machine.accessFailed()
        #expect(machine.isHeldBack)
        #expect(machine.publish(second) == .start(.publish(second)))
        machine.opened()
        #expect(!machine.isHeldBack)
    }

    @Test func whoeverWantsItCommittedEndsIt() {
        for ask in [
            { (machine: inout VolumeMachine) in machine.settle() }, { $0.checkpoint() }, { $0.publish(reader) },
        ] {
            var machine = heldBackMachine()
            let step = ask(&machine)
            #expect(step == .start(.stageOut))
            #expect(!machine.isHeldBack && machine.stageOut == .cutting)
        }
    }

    /// Asked in the moment between the head's word and the end of the unpublish.
    @Test func whoeverAsksWhileThePodGoesEndsItToo() {
        var machine = publishedMachine(first)
        #expect(machine.unpublish(path: "/a") == .start(.unpublish(path: "/a")))
        #expect(machine.settle() == .done)
        machine.unpublished(path: "/a")
        machine.heldBack()
        #expect(!machine.isHeldBack)
        #expect(machine.settle() == .start(.stageOut))
        // The next pod's end knows nothing of that.
        machine.stageOutFailed()
        #expect(machine.publish(first) == .start(.publish(first)))
        machine.opened()
        machine.published(first)
        #expect(machine.unpublish(path: "/a") == .start(.unpublish(path: "/a")))
        machine.unpublished(path: "/a")
        machine.heldBack()
        #expect(machine.isHeldBack)
    }

    @Test func onlyTheEndOfTheLastPodLeavesAnythingToHoldBack() {
        var machine = publishedMachine(first, second)
        #expect(!machine.mayBeHeldBack(after: "/a") && !machine.mayBeHeldBack(after: "/c"))
        #expect(machine.unpublish(path: "/a") == .start(.unpublish(path: "/a")))
        machine.unpublished(path: "/a")
        #expect(machine.mayBeHeldBack(after: "/b"))
        // A repeated call, after the volume was settled.
        #expect(machine.unpublish(path: "/b") == .start(.unpublish(path: "/b")))
        machine.unpublished(path: "/b")
        #expect(!machine.mayBeHeldBack(after: "/b"))
    }

    @Test func aCheckpointThatIsStillSentDoesNotEndIt() {
        var machine = publishedMachine(first)
        #expect(machine.checkpoint() == .start(.cut))
        machine.cutWhilePublished()
        #expect(machine.unpublish(path: "/a") == .start(.unpublish(path: "/a")))
        #expect(machine.mayBeHeldBack(after: "/a"))
        machine.unpublished(path: "/a")
        machine.heldBack()
        let closes = machine.beginClosing()
        #expect(!closes)
        machine.committed()
        #expect(machine.isHeldBack && machine.isDirty)
    }
}
