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
        /// The last target's end may be followed by it, once the head says so.
        case holdBack
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
        case .holdBack:
            guard case .unpublishing(let path) = world.machine.access, world.machine.mayBeHeldBack(after: path) else {
                return nil
            }
            next.machine.unpublished(path: path)
            next.openForWriting.remove(path)
            next.machine.heldBack()
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
            // What is held back is the node's alone, and nobody's who could be kept waiting for it.
            if world.machine.isHeldBack {
                #expect(world.machine.isDirty && world.machine.targets.isEmpty && world.isHeadOpen)
                #expect([.none, .sending(writtenSince: true)].contains(world.machine.stageOut))
                var asked = world.machine
                _ = asked.settle()
                #expect(!asked.isHeldBack)
            }
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
