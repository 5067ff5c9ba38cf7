import Errors

/// What may happen next to one volume on this node: pure, so that every order of calls, ends and failures can be tried
/// without a device. `VolumeActor` does what it says.
///
/// Two tracks. *Access* is publishing or unpublishing one target, growing the volume, or cutting it while it is published:
/// one at a time. *Stage-out* runs beside it, but the volume is opened for writing only once the cut it sends is independent
/// of the local copy.
struct VolumeMachine: Sendable, Hashable {
    /// What is published where.
    private(set) var targets: [String: Publication] = [:]
    private(set) var access: Access = .none
    private(set) var stageOut: StageOut = .none
    /// Whether the local copy holds, or may hold, what no generation holds. Writing is never seen, so a volume published
    /// for writing is dirty.
    private(set) var isDirty: Bool
    /// What is dirty is not staged out for now, as a pod may come back for it: until somebody wants it settled.
    private(set) var isHeldBack = false
    /// Somebody wants the volume settled while its last target is taken away.
    private var isWanted = false

    enum Access: Sendable, Hashable {
        case none
        case publishing(Publication)
        case unpublishing(path: String)
        case expanding(Expansion)
        /// A cut is made under the pods that have the volume.
        case cutting
    }

    enum StageOut: Sendable, Hashable {
        case none
        /// Nobody may write until the cut is made, or, where cuts depend on the local copy, until it is staged out.
        case cutting
        /// The cut is staged out from a picture of its own; `writtenSince`: the volume was opened again after it.
        case sending(writtenSince: Bool)
        /// The cut is the local copy itself.
        case sendingCopy
        /// All is sent, nothing was written since the cut, and the head is being marked closed with the commit: nobody
        /// opens the volume until that is done, or the head would say closed while a pod writes.
        case closing
    }

    /// What the caller is to do.
    enum Step: Sendable, Equatable {
        /// It is so already.
        case done
        case start(Work)
        /// The same work is under way: its result is the caller's, too.
        case join(Work.Track)
        /// Other work has to end first, whatever its result; then ask again.
        case await(Work.Track)
        /// The caller wants the contrary of what is under way: stop it, and ask again.
        case stop(Work.Track)
        case refuse(PerSSDError)

        static func == (a: Step, b: Step) -> Bool {
            switch (a, b) {
            case (.done, .done): true
            case (.start(let a), .start(let b)): a == b
            case (.join(let a), .join(let b)): a == b
            case (.await(let a), .await(let b)): a == b
            case (.stop(let a), .stop(let b)): a == b
            case (.refuse(let a), .refuse(let b)): a.code == b.code && a.message == b.message
            default: false
            }
        }
    }

    enum Work: Sendable, Equatable {
        case publish(Publication)
        case unpublish(path: String)
        case expand(Expansion)
        /// With it the stage-out of what was cut begins.
        case cut
        case stageOut

        enum Track: Sendable, Equatable { case access, stageOut }
    }

    /// - Parameters:
    ///   - targets: what a start finds mounted.
    ///   - isDirty: what the local copy's record says.
    init(targets: [String: Publication] = [:], isDirty: Bool = false) {
        for target in targets.values { self.targets[target.path] = target }
        self.isDirty = isDirty
    }

    /// Nothing is published, under way or uncommitted: the local copy can be evicted.
    var isIdle: Bool { targets.isEmpty && access == .none && stageOut == .none && !isDirty }

    // MARK: What callers want

    mutating func publish(_ wanted: Publication) -> Step {
        switch access {
        case .publishing(let current) where current == wanted: return .join(.access)
        case .publishing, .unpublishing, .expanding, .cutting: return .await(.access)
        case .none: break
        }
        if let existing = targets[wanted.path] {
            guard !existing.isSame(as: wanted) else { return .done }
            return .refuse(
                PerSSDError(
                    .alreadyExists, "the volume is published at \(wanted.path) in another way: \(existing)",
                    remedy: "unpublish it there first"))
        }
        if let other = targets.values.first(where: { $0.isExclusive || wanted.isExclusive }) {
            return .refuse(
                PerSSDError(
                    .failedPrecondition,
                    "the volume has access mode SINGLE_NODE_SINGLE_WRITER and is published at \(other.path) already",
                    remedy: "wait until the pod that uses it is gone, or use access mode ReadWriteOnce"))
        }
        if let other = targets.values.first(where: { !$0.access.goes(with: wanted.access) }) {
            return .refuse(
                PerSSDError(
                    .failedPrecondition,
                    "the volume is published at \(other.path) as \(other.access), which does not go with \(wanted.access)",
                    remedy: "unpublish it there first"))
        }
        if let other = targets.values.first(where: { $0.isShared != wanted.isShared }) {
            return .refuse(
                PerSSDError(
                    .failedPrecondition,
                    "the volume is published at \(other.path) "
                        + (other.isShared ? "as one generation that many nodes read" : "as this node's to write")
                        + ", and here it can be only one of the two",
                    remedy: "unpublish it there first"))
        }
        // What many nodes read is committed, and so is all that this node had written.
        if wanted.isShared, targets.isEmpty {
            switch settle() {
            case .done: break
            case .join(let track): return .await(track)
            case let step: return step
            }
        }
        switch stageOut {
        case .none, .sending: break
        case .cutting, .sendingCopy, .closing: return .await(.stageOut)
        }
        access = .publishing(wanted)
        return .start(.publish(wanted))
    }

    mutating func unpublish(path: String) -> Step {
        switch access {
        case .publishing(let current) where current.path == path: return .stop(.access)
        case .unpublishing(let current) where current == path: return .join(.access)
        case .publishing, .unpublishing, .expanding, .cutting: return .await(.access)
        case .none: break
        }
        access = .unpublishing(path: path)
        isWanted = false
        return .start(.unpublish(path: path))
    }

    /// Growing goes on beside a stage-out: what is sent is a cut of its own while the volume is published.
    mutating func expand(_ wanted: Expansion) -> Step {
        switch access {
        case .expanding(wanted): return .join(.access)
        case .publishing, .unpublishing, .expanding, .cutting: return .await(.access)
        case .none: break
        }
        guard targets[wanted.path] != nil else {
            return .refuse(
                PerSSDError(
                    .notFound, "the volume is not published at \(wanted.path)", remedy: "publish it there first"))
        }
        access = .expanding(wanted)
        return .start(.expand(wanted))
    }

    /// Asked after an unpublish, by retries, and by whoever wants it: brings what is dirty and no longer used to the bucket, held
    /// back or not.
    mutating func settle() -> Step {
        guard targets.isEmpty else {
            if case .unpublishing = access { isWanted = true }
            return .done
        }
        isHeldBack = false
        switch stageOut {
        case .cutting, .sendingCopy, .closing, .sending(writtenSince: false): return .join(.stageOut)
        case .sending(writtenSince: true): return .await(.stageOut)
        case .none: break
        }
        guard access == .none else { return .await(.access) }
        guard isDirty else { return .done }
        stageOut = .cutting
        return .start(.stageOut)
    }

    /// Asked by whoever wants what the volume holds at this moment to be a generation, published or not.
    ///
    /// A cut that is being made may have been made before the caller asked, so none is joined while pods write.
    mutating func checkpoint() -> Step {
        guard !targets.isEmpty else { return settle() }
        guard access == .none else { return .await(.access) }
        guard isDirty else { return .done }
        guard stageOut == .none else { return .await(.stageOut) }
        access = .cutting
        return .start(.cut)
    }

    /// Whether the end of this target leaves something behind that could be held back. A cut that is being sent and is the newest
    /// there is, is no such thing: it closes the head.
    func mayBeHeldBack(after path: String) -> Bool {
        guard targets[path] != nil, targets.count == 1, isDirty else { return false }
        return stageOut == .none || stageOut == .sending(writtenSince: true)
    }

    // MARK: What has happened

    /// Nothing is staged out by itself until `settle`, or until the volume is opened.
    mutating func heldBack() { isHeldBack = targets.isEmpty && isDirty && !isWanted }

    mutating func published(_ publication: Publication) {
        access = .none
        targets[publication.path] = publication
    }

    /// The local copy is about to be opened for writing.
    mutating func opened() {
        isDirty = true
        isHeldBack = false
        if case .sending = stageOut { stageOut = .sending(writtenSince: true) }
    }

    mutating func unpublished(path: String) {
        access = .none
        targets[path] = nil
    }

    mutating func expanded() { access = .none }

    /// A cut was made of the published volume, and is sent from now on.
    mutating func cutWhilePublished() {
        access = .none
        stageOut = .sending(writtenSince: true)
    }

    /// The work on access failed; what is published is as it was.
    mutating func accessFailed() { access = .none }

    mutating func cutMade(isIndependent: Bool) {
        guard stageOut == .cutting else { return }
        stageOut = isIndependent ? .sending(writtenSince: false) : .sendingCopy
    }

    /// Asked right before the commit.
    ///
    /// - Returns: whether the commit also closes the head. Then nothing is opened until the stage-out is over.
    mutating func beginClosing() -> Bool {
        guard targets.isEmpty, stageOut == .sendingCopy || stageOut == .sending(writtenSince: false) else {
            return false
        }
        if case .publishing = access { return false }
        stageOut = .closing
        return true
    }

    /// The cut is committed. Where the head was not closed with it, the volume stays dirty, and another stage-out, of
    /// nothing if nothing was written, will close it.
    mutating func committed() {
        if stageOut == .closing { (isDirty, isHeldBack) = (false, false) }
        stageOut = .none
    }

    /// The stage-out failed: the volume stays dirty, and the next try begins anew.
    mutating func stageOutFailed() { stageOut = .none }
}

/// One target of a volume on this node.
struct Publication: Sendable, Hashable, CustomStringConvertible {
    enum Access: Sendable, Hashable, CustomStringConvertible {
        /// A file system, with the mount flags asked for; nil where a start found it mounted and nobody knows.
        case mount(fileSystem: String, flags: [String]?)
        /// The raw device.
        case block

        /// Whether both can be had of one device at the same time.
        func goes(with other: Access) -> Bool {
            switch (self, other) {
            case (.mount(let a, _), .mount(let b, _)): a == b
            case (.block, .block): true
            case (.mount, .block), (.block, .mount): false
            }
        }

        func isSame(as other: Access) -> Bool {
            guard case .mount(let a, let flags) = self, case .mount(let b, let otherFlags) = other else {
                return self == other
            }
            return a == b && (flags == nil || otherFlags == nil || flags == otherFlags)
        }

        var description: String {
            switch self {
            case .mount(let fileSystem, let flags): ([fileSystem] + (flags ?? [])).joined(separator: " ")
            case .block: "raw block"
            }
        }
    }

    var path: String
    var access: Access
    var isReadOnly: Bool
    /// SINGLE_NODE_SINGLE_WRITER: no second target.
    var isExclusive: Bool
    /// MULTI_NODE_READER_ONLY: one generation, which other nodes may read, too.
    var isShared = false

    /// Whether a request for `other` asks for what is there.
    func isSame(as other: Publication) -> Bool {
        path == other.path && isReadOnly == other.isReadOnly && isShared == other.isShared
            && access.isSame(as: other.access)
    }

    var description: String {
        "\(access), \(isReadOnly ? "read-only" : "read-write")\(isShared ? ", for many nodes" : "")"
    }
}
