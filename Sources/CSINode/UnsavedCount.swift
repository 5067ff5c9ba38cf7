/// How much was written to a volume since its newest generation was cut: pure, as devices come and go meanwhile, and a cut may be
/// committed when the device it was made of has gone. What it does not know for sure, it does not tell.
struct UnsavedCount: Sendable, Equatable {
    /// Where a device stood when it was cut.
    struct Mark: Sendable, Equatable {
        fileprivate var device: Int
        fileprivate var sectors: UInt64
    }

    private static let sectorBytes: UInt64 = 512

    /// Bytes written since the cut to devices that have gone; nil where that is not known.
    private var before: UInt64?
    /// Which device the volume has, or had last, and whether it has it still.
    private var device = 0
    private var isAttached: Bool
    /// What had been written to it when the volume was opened, and from where on it is unsaved.
    private var opened: UInt64?
    private var baseline: UInt64?

    /// - Parameter isAttached: whether the process found it so at its start.
    init(isAttached: Bool) { self.isAttached = isAttached }

    /// The volume has a device for its first pod.
    ///
    /// - Parameters:
    ///   - sectors: written to the device before; nil where it does not say.
    ///   - isAhead: whether there was anything before that is not committed.
    mutating func opened(at sectors: UInt64?, isAhead: Bool) {
        device += 1
        isAttached = true
        (opened, baseline) = (sectors, sectors)
        if !isAhead { before = 0 }
    }

    /// The last pod has gone, and the device goes.
    mutating func closed(at sectors: UInt64?) {
        guard isAttached else { return }
        before = bytes(at: sectors)
        isAttached = false
        (opened, baseline) = (nil, nil)
    }

    /// A cut is made now; nil where there is no device, or it does not say.
    func mark(at sectors: UInt64?) -> Mark? {
        guard isAttached, let sectors else { return nil }
        return Mark(device: device, sectors: sectors)
    }

    /// What was cut is the newest generation.
    ///
    /// - Parameters:
    ///   - mark: when it was cut.
    ///   - wasAttached: whether the volume had a device then.
    mutating func committed(_ mark: Mark?, wasAttached: Bool) {
        switch mark {
        case nil where !wasAttached:
            // Everything written before was in it, and what came after is on the device of now.
            before = 0
            baseline = opened
        case .some(let mark) where isAttached && mark.device == device:
            before = 0
            baseline = mark.sectors
        default:
            before = nil
        }
    }

    /// - Parameter sectors: written to the device up to now; nil where there is none, or it does not say.
    func bytes(at sectors: UInt64?) -> UInt64? {
        guard let before else { return nil }
        guard isAttached else { return before }
        guard let baseline, let sectors, sectors >= baseline else { return nil }
        return before + (sectors - baseline) * Self.sectorBytes
    }
}
