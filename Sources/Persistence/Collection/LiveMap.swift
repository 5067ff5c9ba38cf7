import Errors
import Synchronization

/// What the generations of one lineage reach in its packs: found by walking their block maps, each node once, so that the
/// work follows what differs between them.
final class LiveMap: Sendable {
    /// Leaves read at once.
    private static let leavesAtOnce = 8

    private struct Origin: Hashable {
        var pack: PackID
        var offset: UInt32
    }
    private struct State {
        /// Nodes that were read.
        var nodes: Set<Origin> = []
        /// The pieces of each pack, where they are now: offsets and stored lengths.
        var pieces: [PackID: [UInt32: UInt32]] = [:]
        /// Packs that have been moved, and that something still points to.
        var moved: Set<PackID> = []
    }
    private let nodes: MapNodeReader
    private let tables: [PackID: MovedPieces]
    private let state = Mutex(State())

    /// - Parameter tables: where pieces of packs went that were moved.
    init(store: any ObjectStore, lineage: String, tables: [PackID: MovedPieces]) {
        nodes = MapNodeReader(pieces: PieceReader(store: store, lineage: lineage, meter: TransferMeter()))
        self.tables = tables
    }

    /// The pieces of a pack that are reached: their offsets and stored lengths.
    func pieces(of pack: PackID) -> [UInt32: UInt32] { state.withLock { $0.pieces[pack] ?? [:] } }
    func reaches(_ pack: PackID) -> Bool { state.withLock { $0.pieces[pack] != nil } }
    /// Whether something points into a pack that has been moved.
    func needsTable(of pack: PackID) -> Bool { state.withLock { $0.moved.contains(pack) } }
    var nodesRead: Int { state.withLock { $0.nodes.count } }

    /// Adds all that `root` reaches.
    ///
    /// - Parameter isIncomplete: whether parts of it may be missing, because nobody relies on it. Walk these after all
    ///   others: what a walk could not read, the next one does not read again.
    /// - Throws: `corrupt` or `unsupported`, and what the store throws; the map then says nothing of what is garbage.
    func add(_ root: MapRoot, isIncomplete: Bool) async throws {
        guard let top = root.top else { return }
        try await add(top, at: root.topPlace, isIncomplete)
    }

    private func add(_ pointer: NodePointer, at place: MapNodeCoding.Place, _ isIncomplete: Bool) async throws {
        try Task.checkCancellation()
        guard try note(node: pointer.piece, isIncomplete) else { return }
        if place.level == 0 {
            guard let leaf = try await read(isIncomplete, { try await nodes.leaf(pointer, at: place) }) else { return }
            return try note(leaf.entries.flatMap(\.block.pieces), isIncomplete)
        }
        guard let node = try await read(isIncomplete, { try await nodes.inner(pointer, at: place) }) else { return }
        try await withThrowingTaskGroup(of: Void.self) { group in
            var running = 0
            for entry in node.entries {
                let index = place.index << UInt64(place.geometry.fanOutLog2) + UInt64(entry.slot)
                let child = MapNodeCoding.Place(geometry: place.geometry, level: place.level - 1, index: index)
                // Only leaves side by side: a group at each level would multiply.
                guard place.level == 1 else {
                    try await add(entry.child, at: child, isIncomplete)
                    continue
                }
                if running == Self.leavesAtOnce {
                    try await group.next()
                    running -= 1
                }
                group.addTask { try await self.add(entry.child, at: child, isIncomplete) }
                running += 1
            }
            try await group.waitForAll()
        }
    }

    private func read<Node>(_ isIncomplete: Bool, _ body: () async throws -> Node) async throws -> Node? {
        do {
            return try await body()
        } catch let error as PerSSDError where isIncomplete && error.chain.contains(where: Self.saysMissing) {
            return nil
        }
    }

    private static func saysMissing(_ error: any Error) -> Bool { (error as? PerSSDError)?.code == .notFound }

    /// - Returns: false where the node has been read before.
    private func note(node piece: Piece, _ isIncomplete: Bool) throws -> Bool {
        try note([piece], isIncomplete)
        return state.withLock { $0.nodes.insert(Origin(pack: piece.pack, offset: piece.offset)).inserted }
    }

    private func note(_ pieces: [Piece], _ isIncomplete: Bool) throws {
        try state.withLock { state in
            for piece in pieces {
                guard let (pack, offset) = place(of: piece, &state) else {
                    if isIncomplete { continue }
                    throw PerSSDError(
                        .corrupt,
                        "pack \(piece.pack) was rewritten without the piece at \(piece.offset), which is still needed")
                }
                state.pieces[pack, default: [:]][offset] = piece.storedLength
            }
        }
    }

    /// Where a piece is now.
    private func place(of piece: Piece, _ state: inout State) -> (PackID, UInt32)? {
        var (pack, offset) = (piece.pack, piece.offset)
        while let table = tables[pack] {
            guard let place = table.place(of: offset) else { return nil }
            state.moved.insert(pack)
            (pack, offset) = (table.into, place)
        }
        return (pack, offset)
    }
}
