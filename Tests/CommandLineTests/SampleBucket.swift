import Errors
import Foundation
import Persistence
import TestSupport

/// A directory store with volumes in it, as two stage-outs of a node leave it.
struct SampleBucket {
    let directory: TemporaryDirectory
    let store: DirectoryStore
    /// With two generations, made for the claim "default/data".
    let volume: VolumeRecord
    /// What each generation holds, from the first.
    let contents: [[UInt8]]

    var url: String { "file://" + (directory + "bucket") }

    static let size = 24 << 20

    init() async throws {
        directory = try TemporaryDirectory("bucket")
        try FileManager.default.createDirectory(atPath: directory + "bucket", withIntermediateDirectories: false)
        store = try await DirectoryStore.open(directory: directory + "bucket")
        let catalog = Catalog(store: store)
        let node = try NodeReference(cluster: "c", node: "n1")
        volume = try await catalog.createVolume(
            NewVolume(
                name: "pvc-one", requiredBytes: Int64(Self.size), limitBytes: 0, parameters: VolumeParameters(),
                claim: VolumeRecord.Claim(namespace: "default", name: "data")))
        _ = try await catalog.createVolume(
            NewVolume(
                name: "pvc-two", requiredBytes: 4 << 20, limitBytes: 0, parameters: VolumeParameters(), claim: nil))
        var bytes = [UInt8](repeating: 0, count: Self.size)
        for index in 0..<(3 << 20) { bytes[index + (5 << 20)] = UInt8.random(in: 0...255) }
        var contents = [bytes]
        bytes[7 << 20] ^= 1
        contents.append(bytes)
        self.contents = contents
        for contents in contents { try await Self.commit(contents, to: volume, by: node, in: catalog) }
    }

    /// Stages out another generation of the volume that has some, from the node that made the others.
    func commit(_ contents: [UInt8]) async throws {
        let node = try NodeReference(cluster: "c", node: "n1")
        try await Self.commit(contents, to: volume, by: node, in: Catalog(store: store))
    }

    /// Makes another volume, with a device as its only generation.
    func stageOut(_ contents: Data, asVolume name: String) async throws {
        let catalog = Catalog(store: store)
        let volume = try await catalog.createVolume(
            NewVolume(
                name: name, requiredBytes: Int64(contents.count), limitBytes: 0, parameters: VolumeParameters(),
                claim: nil))
        let node = try NodeReference(cluster: "c", node: "n1")
        try await Self.commit([UInt8](contents), to: volume, by: node, in: catalog)
    }

    func generationPath(_ number: Int) -> String {
        directory + "bucket/volumes/\(volume.volume)/generations/\(volume.incarnation)/\(number).json"
    }

    private static func commit(
        _ contents: [UInt8], to volume: VolumeRecord, by node: NodeReference, in catalog: Catalog
    ) async throws {
        let head = try await catalog.updateHead(volume.volume) {
            try $0.opening(by: node, expectedEpoch: nil, now: catalog.time)
        }.value
        var parent: GenerationRecord?
        if let newest = head.newest { parent = try await catalog.generation(newest) }
        let result = try await StageOut(store: catalog.store, lineage: volume.lineage).run(
            source: Bytes(contents), changed: .unknown, parent: parent?.map)
        let record = GenerationRecord(
            volume: volume.volume, incarnation: volume.incarnation, lineage: volume.lineage,
            number: (parent?.number ?? 0) + 1, parent: head.newest, epoch: head.epoch, map: result.root,
            provenance: Provenance(
                node: node, cutAt: catalog.time, stagedOutAt: catalog.time, readBytes: result.statistics.readBytes,
                changedBytes: result.statistics.plainBytes, sentBytes: result.statistics.sentBytes))
        let reference = try await catalog.write(record, wrote: result.packs)
        _ = try await catalog.updateHead(volume.volume) {
            try $0.committing(reference, by: node, epoch: head.epoch, closing: true, now: catalog.time)
        }
    }

    func packs() throws -> [URL] {
        let root = directory + "bucket"
        return (FileManager.default.enumerator(atPath: root)?.compactMap { $0 as? String } ?? [])
            .filter { $0.contains("/packs/") }.map { URL(fileURLWithPath: "\(root)/\($0)") }
    }

    /// Changes one byte in the middle of the largest pack.
    func damage() throws {
        func size(_ pack: URL) -> UInt64 {
            (try? FileManager.default.attributesOfItem(atPath: pack.path)[.size] as? UInt64) ?? 0
        }
        guard let largest = try packs().max(by: { size($0) < size($1) }) else { throw TestSetupError("no packs") }
        let file = try FileHandle(forUpdating: largest)
        defer { try? file.close() }
        try file.seek(toOffset: size(largest) / 2)
        let byte = try file.read(upToCount: 1)?.first ?? 0
        try file.seek(toOffset: size(largest) / 2)
        try file.write(contentsOf: Data([byte ^ 0x40]))
    }
}

/// Bytes as a device to stage out.
struct Bytes: BlockSource {
    let bytes: [UInt8]
    let alignment = 1
    var sizeBytes: UInt64 { UInt64(bytes.count) }

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws {
        bytes.withUnsafeBytes {
            buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[Int(offset)...].prefix(buffer.count)))
        }
    }

    func allocatedRanges() throws -> [Range<UInt64>] { [0..<sizeBytes] }
}

/// What a run of one of our programs ended with.
struct Run {
    var exitCode: Int32
    var output: String

    /// The JSON document that it printed; standard error must have been silent.
    func json() throws -> Any { try JSONSerialization.jsonObject(with: Data(output.utf8)) }

    static func perssd(_ arguments: [String], environment: [String: String?] = [:]) async throws -> Run {
        let (status, output) = try await TestCommand.status(
            try PackageRoot.builtProgram("perssd"), arguments, environment: environment, within: .seconds(300))
        return Run(exitCode: status, output: output)
    }
}
