import Errors
import Foundation
import Testing

@testable import Persistence

@Suite struct LeaseStepTests {
    let later = start + 60

    func granted(_ node: NodeReference = nodeA) throws -> Head {
        try emptyHead().granting(to: node, as: readWrite, now: start)
    }

    func opened(_ node: NodeReference = nodeA) throws -> Head {
        let head = try granted(node)
        return try head.opening(by: node, expectedEpoch: head.epoch, now: start)
    }

    func closed(_ node: NodeReference = nodeA) throws -> Head {
        let head = try opened(node)
        return try head.committing(nextGeneration(of: head), by: node, epoch: head.epoch, closing: true, now: later)
    }

    func deleted() throws -> Head { try emptyHead().deleting(now: start) }

    // MARK: grant

    @Test func grantingTakesTheNextEpoch() throws {
        let head = try granted()
        #expect(head.epoch == 1)
        #expect(head.lease == Lease(holder: nodeA, state: .granted, since: start, publication: readWrite))
    }

    @Test func grantingTwiceChangesNothing() throws {
        let head = try granted()
        #expect(try head.granting(to: nodeA, as: readWrite, now: later) == head)
        let open = try opened()
        #expect(try open.granting(to: nodeA, as: readWrite, now: later) == open)
        let closed = try closed()
        #expect(try closed.granting(to: nodeA, as: readWrite, now: later) == closed)
    }

    @Test func grantingToAnotherNodeIsRefusedInEveryState() throws {
        for (head, word) in [(try granted(), "granted"), (try opened(), "open"), (try closed(), "closed")] {
            expectRefusal(.failedPrecondition, "node c/a", word, "2023-11-14") {
                _ = try head.granting(to: nodeB, as: readWrite, now: later)
            }
        }
    }

    @Test func nodesOfDifferentClustersAreDifferent() throws {
        expectRefusal(.failedPrecondition, "c/a") {
            _ = try granted().granting(to: node("a", cluster: "d"), as: readWrite, now: later)
        }
    }

    @Test func grantingInAnotherWayIsRefused() throws {
        expectRefusal(.alreadyExists, "SINGLE_NODE_WRITER", "mount", "unpublish") {
            _ = try granted().granting(to: nodeA, as: readOnly, now: later)
        }
        let head = try emptyHead().granting(to: nodeA, as: readOnly, now: start)
        expectRefusal(.alreadyExists, "read-only") { _ = try head.granting(to: nodeA, as: readWrite, now: later) }
    }

    @Test func grantingADeletedVolumeIsRefused() throws {
        let head = try deleted()
        expectRefusal(.notFound, "deleted") { _ = try head.granting(to: nodeA, as: readWrite, now: later) }
    }

    @Test func grantingAdoptsALeaseThatTheNodeTookItself() throws {
        let own = try emptyHead().opening(by: nodeA, expectedEpoch: nil, now: start)
        let head = try own.granting(to: nodeA, as: readOnly, now: later)
        #expect(head.epoch == own.epoch)
        #expect(head.lease?.state == .open)
        #expect(head.lease?.publication == readOnly)
    }

    @Test func grantingAgainForgetsADetach() throws {
        let waiting = try opened().requestingDetach(from: nodeA, holderSeenAt: start, now: later)
        let head = try waiting.granting(to: nodeA, as: readWrite, now: later)
        #expect(head.lease?.detachRequestedAt == nil)
        #expect(head.lease?.signOfLife == nil)
        #expect(head == (try opened()).with(incarnationOf: head))
    }

    // MARK: open

    @Test func openingMarksTheLease() throws {
        let head = try granted().opening(by: nodeA, expectedEpoch: 1, now: later)
        #expect(head.epoch == 1)
        #expect(head.lease?.state == .open)
        #expect(head.lease?.since == later)
    }

    @Test func openingTwiceChangesNothing() throws {
        let head = try opened()
        #expect(try head.opening(by: nodeA, expectedEpoch: 1, now: later) == head)
        #expect(try head.opening(by: nodeA, expectedEpoch: nil, now: later) == head)
    }

    @Test func openingAClosedLeaseIsTheSameEpoch() throws {
        let head = try closed().opening(by: nodeA, expectedEpoch: 1, now: later)
        #expect(head.epoch == 1)
        #expect(head.lease?.state == .open)
    }

    @Test func openingWithoutAnyLeaseTakesIt() throws {
        let head = try emptyHead().opening(by: nodeB, expectedEpoch: nil, now: start)
        #expect(head.epoch == 1)
        #expect(head.lease == Lease(holder: nodeB, state: .open, since: start))
    }

    @Test func openingARevokedGrantIsRefused() throws {
        let revoked = try granted().revoking(now: later)
        expectRefusal(.failedPrecondition, "taken back", "epoch 1", "attach") {
            _ = try revoked.opening(by: nodeA, expectedEpoch: 1, now: later)
        }
        let released = try granted().releasing(from: nodeA)
        expectRefusal(.failedPrecondition, "taken back") {
            _ = try released.opening(by: nodeA, expectedEpoch: 1, now: later)
        }
    }

    @Test func openingWithAnOldGrantIsRefused() throws {
        let head = try granted().releasing(from: nil).granting(to: nodeA, as: readWrite, now: later)
        #expect(head.epoch == 2)
        expectRefusal(.failedPrecondition, "epoch 2", "epoch 1", "attach") {
            _ = try head.opening(by: nodeA, expectedEpoch: 1, now: later)
        }
    }

    @Test func openingWhatAnotherNodeHoldsIsRefused() throws {
        for head in [try granted(), try opened(), try closed()] {
            expectRefusal(.failedPrecondition, "held by node c/a") {
                _ = try head.opening(by: nodeB, expectedEpoch: nil, now: later)
            }
            expectRefusal(.failedPrecondition, "held by node c/a") {
                _ = try head.opening(by: nodeB, expectedEpoch: 1, now: later)
            }
        }
    }

    @Test func openingADeletedVolumeIsRefused() throws {
        let head = try deleted()
        expectRefusal(.notFound) { _ = try head.opening(by: nodeA, expectedEpoch: nil, now: later) }
    }

    // MARK: commit and close

    @Test func committingKeepsTheLeaseOpen() throws {
        let head = try opened()
        let first = nextGeneration(of: head)
        let committed = try head.committing(first, by: nodeA, epoch: 1, closing: false, now: later)
        #expect(committed.newest == first)
        #expect(committed.lease == head.lease)
        #expect(try committed.committing(first, by: nodeA, epoch: 1, closing: false, now: later) == committed)
    }

    @Test func committingAndClosingIsOneStep() throws {
        let head = try opened()
        let first = nextGeneration(of: head)
        let closed = try head.committing(first, by: nodeA, epoch: 1, closing: true, now: later)
        #expect(closed.newest == first)
        #expect(closed.lease?.state == .closed)
        #expect(closed.lease?.since == later)
        #expect(try closed.committing(first, by: nodeA, epoch: 1, closing: true, now: later + 9) == closed)
    }

    @Test func aCommitThatWasDoneCanStillClose() throws {
        let head = try opened()
        let first = nextGeneration(of: head)
        let committed = try head.committing(first, by: nodeA, epoch: 1, closing: false, now: start)
        let closed = try committed.committing(first, by: nodeA, epoch: 1, closing: true, now: later)
        #expect(closed.lease?.state == .closed)
        #expect(closed.newest == first)
    }

    @Test func closingALeaseOfTheNodesOwnGivesItBack() throws {
        let own = try emptyHead().opening(by: nodeA, expectedEpoch: nil, now: start)
        let head = try own.committing(nextGeneration(of: own), by: nodeA, epoch: 1, closing: true, now: later)
        #expect(head.lease == nil)
        #expect(head.epoch == 1)
    }

    @Test func committingUnderAnotherEpochIsRefused() throws {
        let head = try opened()
        for epoch: UInt64 in [0, 2] {
            expectRefusal(.failedPrecondition, "lost the lease", "epoch \(epoch)", "branch") {
                _ = try head.committing(nextGeneration(of: head), by: nodeA, epoch: epoch, closing: false, now: later)
            }
            expectRefusal(.failedPrecondition, "lost the lease") {
                _ = try head.closing(by: nodeA, epoch: epoch, now: later)
            }
        }
    }

    @Test func committingWithoutTheLeaseIsRefused() throws {
        let head = try opened()
        expectRefusal(.failedPrecondition, "node c/b lost the lease", "node c/a holds it") {
            _ = try head.committing(nextGeneration(of: head), by: nodeB, epoch: 1, closing: false, now: later)
        }
        let revoked = head.revoking(now: later)
        for epoch: UInt64 in [1, 2] {
            expectRefusal(.failedPrecondition, "nobody holds it at epoch 2") {
                _ = try revoked.committing(nextGeneration(of: head), by: nodeA, epoch: epoch, closing: true, now: later)
            }
        }
    }

    @Test func generationsFollowEachOther() throws {
        let head = try opened()
        var second = nextGeneration(of: head)
        second.number = 2
        expectRefusal(.conflict, "generation 2", "empty volume") {
            _ = try head.committing(second, by: nodeA, epoch: 1, closing: false, now: later)
        }
        let committed = try head.committing(nextGeneration(of: head), by: nodeA, epoch: 1, closing: false, now: later)
        expectRefusal(.conflict, "generation 1") {
            _ = try committed.committing(
                nextGeneration(of: head, salt: "other"), by: nodeA, epoch: 1, closing: false, now: later)
        }
    }

    @Test func generationsOfAnotherLifeOrVolumeAreRefused() throws {
        let head = try opened()
        var other = nextGeneration(of: head)
        other.incarnation = Incarnation()
        expectRefusal(.conflict) { _ = try head.committing(other, by: nodeA, epoch: 1, closing: false, now: later) }
        other = nextGeneration(of: head)
        other.volume = VolumeID(name: "another")
        expectRefusal(.conflict) { _ = try head.committing(other, by: nodeA, epoch: 1, closing: false, now: later) }
    }

    @Test func closingEndsTheWaitOfADetach() throws {
        let head = try opened().requestingDetach(from: nil, holderSeenAt: start, now: start)
        let closed = try head.closing(by: nodeA, epoch: 1, now: later)
        #expect(closed.lease?.detachRequestedAt == nil)
        #expect(closed.lease?.silentSince == nil)
        #expect(try closed.closing(by: nodeA, epoch: 1, now: later + 1) == closed)
    }

    // MARK: release, detach, revoke

    @Test func releasingWhatIsNotOpen() throws {
        for head in [try granted(), try closed()] {
            let released = try head.releasing(from: nodeA)
            #expect(released.lease == nil)
            #expect(released.epoch == head.epoch)
            #expect(released.newest == head.newest)
            #expect(try head.releasing(from: nil).lease == nil)
            #expect(try released.releasing(from: nodeA) == released)
        }
    }

    @Test func releasingFromAnotherNodeChangesNothing() throws {
        for head in [try granted(), try opened(), try closed()] {
            #expect(try head.releasing(from: nodeB) == head)
        }
    }

    @Test func releasingWhatIsOpenIsRefused() throws {
        let head = try opened()
        expectRefusal(.aborted, "node c/a", "since it was created") { _ = try head.releasing(from: nodeA) }
        let committed = try head.committing(nextGeneration(of: head), by: nodeA, epoch: 1, closing: false, now: start)
        expectRefusal(.aborted, "since generation 1") { _ = try committed.releasing(from: nil) }
    }

    @Test func aDetachIsRequestedOnce() throws {
        let head = try opened().requestingDetach(from: nodeA, holderSeenAt: nil, now: start)
        #expect(head.lease?.detachRequestedAt == start)
        #expect(head.lease?.silentSince == start)
        #expect(head.requestingDetach(from: nodeA, holderSeenAt: nil, now: later) == head)
        #expect(head.requestingDetach(from: nil, holderSeenAt: nil, now: later) == head)
    }

    @Test func aSignOfLifeIsADifferentTimeOfTheNodesClock() throws {
        // A node whose clock is a day behind.
        let seen = start - 86_400
        let head = try opened().requestingDetach(from: nodeA, holderSeenAt: seen, now: start)
        #expect(head.lease?.silentSince == start)
        let silent = head.requestingDetach(from: nodeA, holderSeenAt: seen, now: later)
        #expect(silent == head)
        let alive = head.requestingDetach(from: nodeA, holderSeenAt: seen + 30, now: later)
        #expect(alive.lease?.detachRequestedAt == start)
        #expect(alive.lease?.silentSince == later)
    }

    @Test func aDetachIsRequestedOfAnOpenHolderOnly() throws {
        for head in [emptyHead(), try granted(), try closed(), try deleted()] {
            #expect(head.requestingDetach(from: nil, holderSeenAt: start, now: later) == head)
        }
        let head = try opened()
        #expect(head.requestingDetach(from: nodeB, holderSeenAt: start, now: later) == head)
    }

    @Test func revokingAnOpenLeaseRecordsTheLoss() throws {
        let open = try opened()
        let head = try open.committing(nextGeneration(of: open), by: nodeA, epoch: 1, closing: false, now: start)
        let revoked = head.revoking(now: later)
        #expect(revoked.lease == nil)
        #expect(revoked.epoch == 2)
        #expect(revoked.newest == head.newest)
        #expect(
            revoked.loss == Loss(node: nodeA, epoch: 1, newestGeneration: 1, openSince: start, revokedAt: later))
        #expect(revoked.revoking(now: later + 1) == revoked)
    }

    @Test func revokingWhatIsCommittedLosesNothing() throws {
        for head in [try granted(), try closed()] {
            let revoked = head.revoking(now: later)
            #expect(revoked.lease == nil)
            #expect(revoked.loss == nil)
            #expect(revoked.epoch == 2)
        }
        let free = emptyHead()
        #expect(free.revoking(now: later) == free)
    }

    // MARK: delete

    @Test func deletingRefusesWhileHeld() throws {
        for (head, word) in [(try granted(), "granted"), (try opened(), "open"), (try closed(), "closed")] {
            expectRefusal(.failedPrecondition, "node c/a", word, "unpublish") { _ = try head.deleting(now: later) }
        }
    }

    @Test func deletingIsFinal() throws {
        let head = try closed().releasing(from: nil).deleting(now: start)
        #expect(head.deletedAt == start)
        #expect(try head.deleting(now: later) == head)
        #expect(try head.releasing(from: nil) == head)
        #expect(head.revoking(now: later) == head)
        expectRefusal(.notFound) { _ = try head.closing(by: nodeA, epoch: 1, now: later) }
        expectRefusal(.notFound) {
            _ = try head.committing(nextGeneration(of: head), by: nodeA, epoch: 1, closing: false, now: later)
        }
    }
}

extension Head {
    /// The same with another head's random incarnation, to compare all else.
    fileprivate func with(incarnationOf other: Head) -> Head {
        var head = self
        head.incarnation = other.incarnation
        return head
    }
}
