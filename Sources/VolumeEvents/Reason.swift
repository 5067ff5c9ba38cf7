/// The kinds of events, by the word that stands for each; docs/events.md explains them.
public enum Reason: String, Sendable, CaseIterable {
    case restoring = "Restoring"
    case restored = "Restored"
    case stagingOut = "StagingOut"
    case committed = "Committed"
    case heldBack = "HeldBack"
    case stageOutFailed = "StageOutFailed"
    case cutFailed = "CutFailed"
    case notSaved = "NotSaved"
    case waitingForNode = "WaitingForNode"
    case leaseRevoked = "LeaseRevoked"
    case localCopyLost = "LocalCopyLost"
    case dataLost = "DataLost"
    case branchKept = "BranchKept"

    /// What was being done.
    public enum Action: String, Sendable {
        case publish = "Publish"
        case unpublish = "Unpublish"
        case stageOut = "StageOut"
        case detach = "Detach"
    }

    public var action: Action {
        switch self {
        case .restoring, .restored, .dataLost, .localCopyLost: .publish
        case .committed, .heldBack: .unpublish
        case .stagingOut, .stageOutFailed, .cutFailed, .notSaved, .branchKept: .stageOut
        case .waitingForNode, .leaseRevoked: .detach
        }
    }

    /// Somebody should look at it.
    public var isWarning: Bool {
        switch self {
        case .stageOutFailed, .cutFailed, .notSaved, .leaseRevoked, .localCopyLost, .dataLost, .branchKept: true
        case .restoring, .restored, .stagingOut, .committed, .heldBack, .waitingForNode: false
        }
    }

    /// The next one of a volume says the same anew, so that it takes the place of the one before.
    public var isRepeated: Bool {
        switch self {
        case .restoring, .stagingOut, .stageOutFailed, .cutFailed, .waitingForNode: true
        case .restored, .committed, .heldBack, .notSaved, .leaseRevoked, .localCopyLost, .dataLost, .branchKept: false
        }
    }

    /// The least that may be lost: who missed one hears the next.
    public var isProgress: Bool { isRepeated && !isWarning }
}
