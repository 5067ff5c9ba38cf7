import CatalogTestSupport
import Errors
import Foundation
import Testing

@testable import Persistence

/// A lease whose node keeps its work back for a pod that may come next.
@Suite struct HeldBackLeaseTests {
    let until = start + 600

    func opened(attached: Bool = true) throws -> Head {
        let head = attached ? try emptyHead().granting(to: nodeA, as: readWrite, now: start) : emptyHead()
        return try head.opening(by: nodeA, expectedEpoch: nil, now: start)
    }

    func heldBack() throws -> Head { try opened().holdingBack(by: nodeA, epoch: 1, until: until) }

    @Test func staysOpenAndSaysUntilWhen() throws {
        let head = try heldBack()
        #expect(head.lease?.isHeldBack == true && head.lease?.heldBackUntil == until)
        #expect(head.lease?.state == .open && head.lease?.since == start && head.epoch == 1)
        #expect(try head.holdingBack(by: nodeA, epoch: 1, until: until) == head)
        // Another node, another epoch.
        expectRefusal(.failedPrecondition, "lost the lease") {
            _ = try opened().holdingBack(by: nodeB, epoch: 1, until: until)
        }
        expectRefusal(.failedPrecondition, "lost the lease") {
            _ = try opened().holdingBack(by: nodeA, epoch: 2, until: until)
        }
    }

    @Test func isNotWhereNobodyCouldEndItOrSomebodyWaits() throws {
        let alone = try opened(attached: false)
        #expect(try alone.holdingBack(by: nodeA, epoch: 1, until: until) == alone)
        let asked = try opened().requestingDetach(from: nodeA, holderSeenAt: nil, now: start)
        #expect(try asked.holdingBack(by: nodeA, epoch: 1, until: until) == asked)
        let granted = try emptyHead().granting(to: nodeA, as: readWrite, now: start)
        #expect(try granted.holdingBack(by: nodeA, epoch: 1, until: until) == granted)
    }

    @Test func aDetachTakesThePublicationAndNothingElse() throws {
        let head = try heldBack()
        let withdrawn = head.withdrawing(from: nodeA)
        var expected = head
        expected.lease?.publication = nil
        #expect(withdrawn == expected)
        #expect(withdrawn.withdrawing(from: nil) == withdrawn)
        #expect(head.withdrawing(from: nodeB) == head)
        // What pods write is waited for.
        let open = try opened()
        #expect(open.withdrawing(from: nodeA) == open)
        expectRefusal(.aborted, "has not committed") { _ = try withdrawn.releasing(from: nodeA) }
    }

    @Test func theSameNodeGetsItBackAtTheSameEpochAndNoOther() throws {
        let withdrawn = try heldBack().withdrawing(from: nodeA)
        expectRefusal(.failedPrecondition, "held by node c/a") {
            _ = try withdrawn.granting(to: nodeB, as: readWrite, now: start)
        }
        // A pod that was there before the detach.
        expectRefusal(.failedPrecondition, "taken back") {
            _ = try withdrawn.opening(by: nodeA, expectedEpoch: 1, now: start)
        }
        let asked = withdrawn.requestingDetach(from: nodeA, holderSeenAt: start, now: start)
        #expect(asked.lease?.detachRequestedAt == start)
        let granted = try asked.granting(to: nodeA, as: readOnly, now: start)
        #expect(granted.epoch == 1 && granted.lease?.detachRequestedAt == nil && granted.lease?.isHeldBack == true)
        let opened = try granted.opening(by: nodeA, expectedEpoch: 1, now: start + 5)
        #expect(opened.lease?.isHeldBack == false && opened.lease?.heldBackUntil == nil)
        // It has been open all the while.
        #expect(opened.lease?.since == start && opened.lease?.state == .open)
    }

    @Test func theClosingCommitGivesBackWhatWasWithdrawn() throws {
        let head = try heldBack()
        let withdrawn = head.withdrawing(from: nodeA)
        let committed = try withdrawn.committing(
            nextGeneration(of: withdrawn), by: nodeA, epoch: 1, closing: true, now: start)
        #expect(committed.lease == nil && committed.newest?.number == 1 && committed.loss == nil)
        let attached = try head.committing(nextGeneration(of: head), by: nodeA, epoch: 1, closing: true, now: start)
        #expect(attached.lease?.state == .closed && attached.lease?.heldBackUntil == nil)
    }

    @Test func onlyWhatIsAttachedNowhereIsDeletedWithIt() throws {
        let head = try heldBack()
        expectRefusal(.failedPrecondition, "in use") { _ = try head.deleting(now: start) }
        let deleted = try head.withdrawing(from: nodeA).deleting(now: start)
        #expect(deleted.lease == nil && deleted.deletedAt == start)
        expectRefusal(.notFound, "deleted") {
            _ = try deleted.committing(nextGeneration(of: deleted), by: nodeA, epoch: 1, closing: true, now: start)
        }
        // A node that took the lease itself, and writes.
        expectRefusal(.failedPrecondition, "in use") { _ = try opened(attached: false).deleting(now: start) }
    }

    @Test func aRevocationIsALoss() throws {
        let revoked = try heldBack().withdrawing(from: nodeA).revoking(now: start)
        #expect(revoked.lease == nil && revoked.epoch == 2 && revoked.loss?.node == nodeA && revoked.loss?.epoch == 1)
    }

    @Test func readersWaitForIt() throws {
        expectRefusal(.failedPrecondition, "held for writing") { _ = try heldBack().withdrawing(from: nil).readable() }
    }

    @Test func deletingTellsWhoHasWorkThatNobodyNeeds() async throws {
        let catalog = Catalog(store: MemoryStore())
        let volume = try await catalog.createVolume(newVolume())
        _ = try await catalog.updateHead(volume.volume) {
            try $0.granting(to: nodeA, as: readWrite, now: start).opening(by: nodeA, expectedEpoch: 1, now: start)
                .holdingBack(by: nodeA, epoch: 1, until: until).withdrawing(from: nodeA)
        }
        #expect(try await catalog.deleteVolume(volume.volume) == nodeA)
        #expect(try await catalog.deleteVolume(volume.volume) == nil)
        let other = try await catalog.createVolume(newVolume("pvc-2"))
        #expect(try await catalog.deleteVolume(other.volume) == nil)
    }
}
