import Errors
import Persistence
import TestSupport
import Testing
import TransferTestSupport

/// A directory store of its own, behind a store that counts and fails; gone with the last reference.
struct TransferFixture: Sendable {
    static let lineage = "0123456789abcdef0123456789abcdef"
    static let blockBytes = 64 << 10

    let directory: TemporaryDirectory
    let store: FaultyStore

    init() async throws {
        directory = try TemporaryDirectory("transfer")
        store = FaultyStore(try await DirectoryStore.open(directory: directory.path))
    }

    /// Small blocks and a small fan-out, so that little data makes a tall tree.
    static func options(fanOutLog2: UInt8 = 2) throws -> StageOutOptions {
        StageOutOptions(
            blockSize: try BlockSize(bytes: blockBytes), packBytes: 1 << 20, workers: 3, fanOutLog2: fanOutLog2)
    }

    @discardableResult
    func stageOut(
        _ source: any BlockSource, _ changed: ChangedRanges = .unknown, parent: MapRoot? = nil,
        base: (any BlockSource)? = nil, options: StageOutOptions? = nil
    ) async throws -> StageOutResult {
        try await StageOut(store: store, lineage: Self.lineage, options: options ?? Self.options())
            .run(source: source, changed: changed, parent: parent, base: base)
    }

    @discardableResult
    func restore(_ root: MapRoot, to sink: any BlockSink, have: SinkContents = .zeros) async throws
        -> TransferStatistics
    {
        try await Restore(store: store, lineage: Self.lineage).run(root, to: sink, have: have)
    }

    /// What a restore to a new device holds.
    func restored(_ root: MapRoot) async throws -> [UInt8] {
        let sink = MemoryVolume([UInt8](repeating: 0, count: Int(root.capacityBytes)))
        try await restore(root, to: sink)
        return sink.bytes
    }

    func verify(_ root: MapRoot) async throws -> VerifyResult {
        try await VerifyMap(store: store, lineage: Self.lineage).run(root)
    }

    var reader: MapReader { MapReader(store: store, lineage: Self.lineage) }

    /// - Parameter old: nil for zeros.
    func difference(
        of new: MapRoot, since old: MapRoot?, meter: TransferMeter = TransferMeter()
    ) throws -> MapDifference {
        let old = old.map { StoredMap(root: $0, store: store, lineage: Self.lineage) }
        return try MapDifference(
            of: StoredMap(root: new, store: store, lineage: Self.lineage), since: old, meter: meter)
    }

    func packs() async throws -> [ObjectInfo] {
        try await store.list(prefix: PackID.folder(lineage: Self.lineage), after: nil, limit: 1000)
    }
}

/// Compares volumes without printing megabytes where they differ.
func expectEqual(
    _ found: [UInt8], _ expected: [UInt8], _ what: String = "the volume",
    sourceLocation: SourceLocation = #_sourceLocation
) {
    guard found != expected else { return }
    let first = zip(found, expected).enumerated().first { $0.element.0 != $0.element.1 }?.offset
    Issue.record(
        "\(what) differs: \(found.count) and \(expected.count) bytes, first at \(first.map(String.init) ?? "the end")",
        sourceLocation: sourceLocation)
}

/// The error that `body` has to throw.
func failure(
    sourceLocation: SourceLocation = #_sourceLocation, _ body: () async throws -> Void
) async throws -> PerSSDError {
    do {
        try await body()
    } catch {
        return try #require(error as? PerSSDError, "another kind of error: \(error)", sourceLocation: sourceLocation)
    }
    Issue.record("no error", sourceLocation: sourceLocation)
    throw PerSSDError(.internal, "no error was thrown")
}
