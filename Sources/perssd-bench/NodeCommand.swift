import ArgumentParser
import Blocking
import Errors
import Foundation
import LocalVolumes
import Logging
import Persistence
import SystemPackage

struct NodeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "node",
        abstract: "Stages out a volume of a pool as a node does, with cuts, records and compare-and-swap of the head.")

    @OptionGroup var store: StoreOptions
    @Option(help: "A directory for the pool, on a file system that shares blocks between files.")
    var pool: String
    @Option(help: "An image with the volume's contents.")
    var image: String
    @Option(help: "How often nothing changes.")
    var repeats = 5
    @OptionGroup var change: ChangeOptions

    /// As the script reads it.
    private struct Figures: Encodable {
        var first: StepFigures
        /// Nothing changed, which the pool knows by comparing extents.
        var unchanged: [StepFigures] = []
        /// Nothing changed, which nobody knows: all is read and compared.
        var compared: [StepFigures] = []
        var changed: StepFigures?
    }

    func run() async throws {
        let store = try store.open()
        let pool = try await ImagePool.open(
            name: "bench", directory: FilePath(pool), logger: Logger(label: "perssd-bench"))
        _ = try await pool.recover()
        guard pool.cutsAreInstant else {
            throw PerSSDError(
                .failedPrecondition, "the file system of \(self.pool) cannot share blocks between files",
                remedy: "give a directory on XFS or btrfs")
        }
        let volume = try await NodeVolume.make(name: "bench", image: FilePath(image), pool: pool, store: store)
        var figures = Figures(first: try await measured(store) { try await volume.stageOut() })
        for _ in 0..<repeats {
            try await volume.open()
            figures.unchanged.append(try await measured(store) { try await volume.stageOut() })
        }
        for _ in 0..<min(repeats, 3) {
            try await volume.open()
            figures.compared.append(try await measured(store) { try await volume.stageOut(comparingAll: true) })
        }
        try await volume.open()
        try await volume.write { try change.apply(to: $0) }
        figures.changed = try await measured(store) { try await volume.stageOut() }
        try await volume.remove()
        try printJSON(figures)
    }
}

/// A volume with its local copy, in the hands of a node.
private final class NodeVolume {
    private let pool: ImagePool
    private let catalog: Catalog
    private let node: NodeReference
    private let record: VolumeRecord
    private var copy: CopyRecord
    private var head: Versioned<Head>
    private var newest: (record: GenerationRecord, reference: GenerationReference)?

    /// Makes the volume and its local copy, with an image's contents, open for writing.
    static func make(name: String, image: FilePath, pool: ImagePool, store: S3Store) async throws -> NodeVolume {
        let catalog = Catalog(store: store)
        let node = try NodeReference(cluster: "bench", node: "node-a")
        let source = try FileBlockSource(path: image)
        let record = try await catalog.createVolume(
            NewVolume(
                name: name, requiredBytes: Int64(source.sizeBytes), limitBytes: 0, parameters: VolumeParameters(),
                claim: nil))
        let time = catalog.time
        let head = try await catalog.updateHead(record.volume) {
            try $0.opening(by: node, expectedEpoch: nil, now: time)
        }
        let copy = CopyRecord(
            volume: record.volume.rawValue, incarnation: record.incarnation.rawValue, lineage: record.lineage,
            epoch: head.value.epoch, generation: 0, state: .dirty, sizeBytes: record.capacityBytes,
            lastUsed: Int64(time.timeIntervalSince1970))
        _ = try await pool.create(copy)
        let volume = NodeVolume(pool: pool, catalog: catalog, node: node, record: record, copy: copy, head: head)
        try await volume.write { sink in
            let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 4 << 20, alignment: 4096)
            defer { buffer.deallocate() }
            for offset in stride(from: 0, to: source.sizeBytes, by: buffer.count) {
                let count = min(buffer.count, Int(source.sizeBytes - offset))
                let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<count])
                try source.read(at: offset, into: part)
                try sink.write(at: offset, from: UnsafeRawBufferPointer(part))
            }
            try sink.flush()
        }
        return volume
    }

    private init(
        pool: ImagePool, catalog: Catalog, node: NodeReference, record: VolumeRecord, copy: CopyRecord,
        head: Versioned<Head>
    ) {
        self.pool = pool
        self.catalog = catalog
        self.node = node
        self.record = record
        self.copy = copy
        self.head = head
    }

    /// What a NodePublish does to the records.
    func open() async throws {
        let time = catalog.time
        head = try await catalog.updateHead(record.volume, known: head) { [node] in
            try $0.opening(by: node, expectedEpoch: nil, now: time)
        }
        copy.epoch = head.value.epoch
        copy.state = .dirty
        try await pool.save(copy)
    }

    /// Lets `body` write the device, on a thread that may block.
    func write(_ body: @escaping @Sendable (FileBlockSink) throws -> Void) async throws {
        let device = try await pool.attach(copy.volume)
        try await BlockingPool.shared.run { try body(try FileBlockSink(path: device)) }
    }

    /// What the last NodeUnpublish does, from the cut to the closed head.
    ///
    /// - Parameter comparingAll: as if the pool could not tell what changed.
    func stageOut(comparingAll: Bool = false) async throws -> TransferStatistics {
        let cut = try await pool.cut(copy.volume)
        let cutAt = catalog.time
        var changed = ChangedRanges.unknown
        var base: FileBlockSource?
        if let newest, !comparingAll, let ranges = try await pool.changes(in: cut, since: newest.record.number) {
            changed = .only(ranges)
            base = try await pool.base(of: copy.volume, for: newest.record.number).map { try FileBlockSource(path: $0) }
        }
        var options = StageOutOptions(compressionLevel: record.parameters.compressionLevel)
        options.blockSize = try BlockSize(bytes: record.parameters.blockSize)
        let result = try await StageOut(store: catalog.store, lineage: record.lineage, options: options).run(
            source: try FileBlockSource(path: cut.path), changed: changed, parent: newest?.record.map,
            base: base)
        try await commit(result, cutAt: cutAt)
        copy.generation = head.value.newest?.number ?? 0
        copy.state = .clean
        try await pool.keep(cut, asBaseFor: copy.generation)
        try await pool.save(copy)
        return result.statistics
    }

    private func commit(_ result: StageOutResult, cutAt: Date) async throws {
        var written: GenerationReference?
        if result.root != newest?.record.map {
            let statistics = result.statistics
            let generation = GenerationRecord(
                volume: record.volume, incarnation: record.incarnation, lineage: record.lineage,
                number: (newest?.record.number ?? 0) + 1, parent: newest?.reference, epoch: copy.epoch,
                map: result.root,
                provenance: Provenance(
                    node: node, cutAt: cutAt, stagedOutAt: catalog.time, readBytes: statistics.readBytes,
                    changedBytes: statistics.plainBytes, sentBytes: statistics.sentBytes))
            let reference = try await catalog.write(generation, wrote: result.packs)
            newest = (generation, reference)
            written = reference
        }
        let time = catalog.time
        head = try await catalog.updateHead(record.volume, known: head) { [node, copy] head in
            guard let written else { return try head.closing(by: node, epoch: copy.epoch, now: time) }
            return try head.committing(written, by: node, epoch: copy.epoch, closing: true, now: time)
        }
    }

    func remove() async throws {
        try await pool.detach(copy.volume)
        try await pool.remove(copy.volume)
    }
}
