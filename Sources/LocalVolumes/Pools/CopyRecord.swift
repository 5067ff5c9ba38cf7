/// What a node must remember about a local copy, kept durably with it. Small and flat, because LVM tags have to hold it.
public struct CopyRecord: Sendable, Equatable, Codable {
    public enum State: String, Sendable, Codable, CaseIterable {
        /// Being brought to `generation`; whatever is in it now, it is never mounted.
        case restoring
        /// Exactly `generation`; a cache.
        case clean
        /// It was `generation`, and what a mount had to repair has changed it since: a journal was replayed. It is read for as
        /// long as it is mounted, and is no cache.
        case recovered
        /// Written, or open for writing, since `generation`.
        case dirty
    }

    /// What a local copy is for.
    public enum Use: String, Sendable, Codable {
        /// The one node that may write the volume has it, or had it.
        case volume
        /// Nodes read one generation, each from a copy of its own: nobody writes it, whatever is newest.
        case reading
        /// Scratch of one pod, which no bucket knows of: it goes with the pod.
        case ephemeral
    }

    public var volume: String
    public var incarnation: String
    public var lineage: String
    /// The epoch of the lease under which it was last written, or restored.
    public var epoch: UInt64
    /// The committed generation it holds or descends from; 0 for none, a volume that is new.
    public var generation: UInt64
    public var state: State
    public var sizeBytes: UInt64
    /// When it was last published or unpublished, in seconds since 1970.
    public var lastUsed: Int64
    public var use: Use

    public init(
        volume: String, incarnation: String, lineage: String, epoch: UInt64, generation: UInt64, state: State,
        sizeBytes: UInt64, lastUsed: Int64, use: Use = .volume
    ) {
        self.volume = volume
        self.incarnation = incarnation
        self.lineage = lineage
        self.epoch = epoch
        self.generation = generation
        self.state = state
        self.sizeBytes = sizeBytes
        self.lastUsed = lastUsed
        self.use = use
    }
}

/// Written out, so that a record without a use, as most are, is that of a volume.
extension CopyRecord {
    private enum Keys: String, CodingKey {
        case volume, incarnation, lineage, epoch, generation, state, sizeBytes, lastUsed, use
    }

    public init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: Keys.self)
        self.init(
            volume: try fields.decode(String.self, forKey: .volume),
            incarnation: try fields.decode(String.self, forKey: .incarnation),
            lineage: try fields.decode(String.self, forKey: .lineage),
            epoch: try fields.decode(UInt64.self, forKey: .epoch),
            generation: try fields.decode(UInt64.self, forKey: .generation),
            state: try fields.decode(State.self, forKey: .state),
            sizeBytes: try fields.decode(UInt64.self, forKey: .sizeBytes),
            lastUsed: try fields.decode(Int64.self, forKey: .lastUsed),
            use: try fields.decodeIfPresent(Use.self, forKey: .use) ?? .volume)
    }

    public func encode(to encoder: any Encoder) throws {
        var fields = encoder.container(keyedBy: Keys.self)
        try fields.encode(volume, forKey: .volume)
        try fields.encode(incarnation, forKey: .incarnation)
        try fields.encode(lineage, forKey: .lineage)
        try fields.encode(epoch, forKey: .epoch)
        try fields.encode(generation, forKey: .generation)
        try fields.encode(state, forKey: .state)
        try fields.encode(sizeBytes, forKey: .sizeBytes)
        try fields.encode(lastUsed, forKey: .lastUsed)
        if use != .volume { try fields.encode(use, forKey: .use) }
    }
}
