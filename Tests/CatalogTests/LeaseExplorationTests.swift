import CatalogTestSupport
import Digests
import Errors
import Foundation
import Testing

@testable import Persistence

/// Every order of what two nodes and a controller may do to a head, up to a depth, against what has to hold always.
@Suite struct LeaseExplorationTests {
    enum Actor: CaseIterable {
        case a, b
        var node: NodeReference { self == .a ? nodeA : nodeB }
    }

    enum Action: CaseIterable {
        case grant, release, requestDetach, revoke, delete
        /// By a node: with the epoch that it was last granted, or without.
        case openGranted, openAlone, commit, commitClosing, close, holdBack, forget
        /// By the controller, of what is held back.
        case withdraw
    }

    /// What a node believes; it may be out of date.
    struct Belief: Hashable {
        var granted: UInt64?
        /// The epoch at which it opened the volume, and what was newest then or what it has committed since.
        var epoch: UInt64?
        var base: UInt64 = 0
    }

    struct World {
        var head: Head
        var beliefs: [Actor: Belief] = [.a: Belief(), .b: Belief()]

        /// All that tells worlds apart; times and digests follow from it.
        var key: String {
            let lease = head.lease.map {
                "\($0.holder)\($0.state)\($0.publication != nil)\($0.detachRequestedAt != nil)\($0.heldBackUntil != nil)"
            }
            let believed = Actor.allCases.map { actor in
                beliefs[actor].map { "\($0.granted ?? 0),\($0.epoch ?? 0),\($0.base)" } ?? ""
            }
            return "\(head.epoch) \(head.newest?.number ?? 0) \(lease ?? "") \(head.loss?.epoch ?? 0) "
                + "\(head.deletedAt != nil) \(believed)"
        }
    }

    /// - Returns: nil where the step is refused, or the actor has no reason to try it.
    private func next(_ world: World, _ actor: Actor, _ action: Action) -> World? {
        var world = world
        let head = world.head
        guard var belief = world.beliefs[actor] else { return nil }
        do {
            switch action {
            case .grant:
                world.head = try head.granting(to: actor.node, as: readWrite, now: start)
                belief.granted = world.head.epoch
            case .release: world.head = try head.releasing(from: actor.node)
            case .requestDetach:
                world.head = head.requestingDetach(from: actor.node, holderSeenAt: nil, now: start)
            case .revoke: world.head = head.revoking(now: start)
            case .delete: world.head = try head.deleting(now: start)
            case .openGranted, .openAlone:
                guard action == .openAlone || belief.granted != nil else { return nil }
                let expected = action == .openGranted ? belief.granted : nil
                world.head = try head.opening(by: actor.node, expectedEpoch: expected, now: start)
                belief.epoch = world.head.epoch
                belief.base = head.newest?.number ?? 0
            case .commit, .commitClosing:
                guard let epoch = belief.epoch else { return nil }
                let generation = GenerationReference(
                    volume: head.volume, incarnation: head.incarnation, number: belief.base + 1,
                    digest: SHA256.digest("\(actor) \(epoch) \(belief.base)"))
                world.head = try head.committing(
                    generation, by: actor.node, epoch: epoch, closing: action == .commitClosing, now: start)
                belief.base += 1
                if action == .commitClosing { belief.epoch = nil }
            case .close:
                guard let epoch = belief.epoch else { return nil }
                world.head = try head.closing(by: actor.node, epoch: epoch, now: start)
                belief.epoch = nil
            case .holdBack:
                guard let epoch = belief.epoch else { return nil }
                world.head = try head.holdingBack(by: actor.node, epoch: epoch, until: start + 60)
            case .withdraw: world.head = head.withdrawing(from: actor.node)
            case .forget: belief = Belief()
            }
        } catch {
            return nil
        }
        world.beliefs[actor] = belief
        return world
    }

    /// What has to hold of every step from one world to the next.
    private func violations(_ old: World, _ new: World, _ actor: Actor, _ action: Action) -> [String] {
        var found: [String] = []
        func require(_ holds: Bool, _ what: String) { if !holds { found.append(what) } }
        let (before, after) = (old.head, new.head)
        require(after.epoch >= before.epoch, "the epoch shrinks")
        require(before.deletedAt == nil || after == before, "a deleted head changes")
        require(after.deletedAt == nil || after.lease == nil, "a deleted volume is held")
        if after.newest != before.newest {
            let belief = old.beliefs[actor]
            require(action == .commit || action == .commitClosing, "something else than a commit commits")
            require(after.newest?.number == (before.newest?.number ?? 0) + 1, "newest grows by more than one")
            require(before.lease?.holder == actor.node, "somebody without the lease commits")
            require(belief?.epoch == before.epoch, "something is committed under an old epoch")
            require(belief?.base == before.newest?.number ?? 0, "a commit builds on what is not newest")
        }
        if let lease = after.lease, lease.holder != before.lease?.holder {
            require(before.lease == nil, "a lease goes from one node straight to another")
            require(after.epoch == before.epoch + 1, "a new lease has no new epoch")
        }
        if before.lease?.state == .open, after.lease == nil, before.lease?.publication != nil {
            require(action == .revoke, "an open lease that was granted is gone without a revocation")
        }
        if before.lease?.state == .open, after.lease == nil, before.lease?.isHeldBack == true {
            let ends = [.commitClosing, .close, .revoke, .delete].contains(action)
            require(ends, "what is held back is gone, and nobody has committed, revoked or deleted it")
            require(action != .delete || before.lease?.publication == nil, "a volume is deleted while it is attached")
        }
        if let lease = after.lease {
            require(lease.heldBackUntil == nil || lease.state == .open, "a lease that is not open is held back")
            if lease.isHeldBack, before.lease?.isHeldBack != true {
                require(action == .holdBack && lease.publication != nil, "held back where nobody attaches the volume")
                require(before.lease?.detachRequestedAt == nil, "held back while somebody waits for the volume")
            }
        }
        if before.lease?.holder == after.lease?.holder, before.lease?.publication != nil {
            let isWithdrawn = after.lease?.publication == nil
            require(!isWithdrawn || action == .withdraw && before.lease?.isHeldBack == true, "a pod's node is detached")
        }
        if action == .openGranted, before.lease?.publication == nil, before.lease != nil {
            require(before.lease?.isHeldBack != true, "what was withdrawn is opened by an old grant")
        }
        if after.loss != before.loss {
            require(action == .revoke && before.lease?.state == .open, "a loss without a revocation")
            require(after.loss?.epoch == before.epoch && after.epoch > before.epoch, "a loss of another epoch")
        }
        let writers = Actor.allCases.filter { next(new, $0, .commit) != nil }
        require(writers.count <= 1, "two nodes can commit")
        return found
    }

    @Test func noOrderOfStepsBreaksTheRules() {
        var seen: Set<String> = []
        var frontier = [World(head: emptyHead())]
        var steps = 0
        for _ in 0..<9 {
            var found: [World] = []
            for world in frontier {
                for action in Action.allCases {
                    for actor in Actor.allCases {
                        guard let after = next(world, actor, action) else { continue }
                        steps += 1
                        let broken = violations(world, after, actor, action)
                        #expect(broken.isEmpty, "\(broken) by \(action) of \(actor) in \(world.key)")
                        if !broken.isEmpty { return }
                        if seen.insert(after.key).inserted { found.append(after) }
                    }
                }
            }
            frontier = found
        }
        #expect(steps > 20_000)
    }
}
