import Errors
import Foundation
import TestSupport
import Testing
import TransferTestSupport

@testable import Persistence

@Suite struct MovedPiecesTests {
    private static let lineage = "0123456789abcdef0123456789abcdef"
    private let table = MovedPieces(
        pack: PackID([UInt8](0..<16))!, into: PackID([UInt8](16..<32))!,
        entries: [
            .init(from: 64, to: 64, storedLength: 100), .init(from: 164, to: 164, storedLength: 10),
            .init(from: 300, to: 174, storedLength: 5),
        ])

    @Test func itsBytesAreThoseOfTheDocumentation() throws {
        let bytes = table.encoded(lineage: Self.lineage)
        #expect(bytes.count == 80 + 3 * 12 + 32)
        #expect(bytes[..<8].elementsEqual("PERSSDMV".utf8))
        #expect(Array(bytes[8..<16]) == [1, 0, 0, 0, 3, 0, 0, 0])
        #expect(Array(bytes[16..<48]) == [UInt8](0..<32))
        #expect(Array(bytes[104..<116]) == [44, 1, 0, 0, 174, 0, 0, 0, 5, 0, 0, 0])
        #expect(try MovedPieces(decoding: bytes, of: table.pack, lineage: Self.lineage) == table)
    }

    @Test func piecesAreFound() {
        #expect(table.place(of: 164) == 164)
        #expect(table.place(of: 300) == 174)
        #expect(table.place(of: 165) == nil)
        #expect(
            table.runs(within: 64..<400) == [
                .init(from: 64, to: 64, length: 110), .init(from: 300, to: 174, length: 5),
            ])
        #expect(table.runs(within: 64..<304) == [.init(from: 64, to: 64, length: 110)])
    }

    @Test func anyOtherByteIsNoticed() {
        let bytes = table.encoded(lineage: Self.lineage)
        for index in bytes.indices {
            var damaged = bytes
            damaged[index] ^= 1
            let error = #expect(throws: PerSSDError.self) {
                try MovedPieces(decoding: damaged, of: table.pack, lineage: Self.lineage)
            }
            #expect(error?.code == ((8..<12).contains(index) ? .unsupported : .corrupt), "\(index)")
        }
        #expect(throws: PerSSDError.self) {
            try MovedPieces(decoding: Array(bytes.dropLast()), of: table.pack, lineage: Self.lineage)
        }
        #expect(throws: PerSSDError.self) {
            try MovedPieces(decoding: bytes, of: table.into, lineage: Self.lineage)
        }
        #expect(throws: PerSSDError.self) { try MovedPieces(decoding: bytes, of: table.pack, lineage: "other") }
    }

    /// Written by a collection, and read by a reader in Python that shares no code with it.
    @Test func anIndependentReaderFollowsThem() async throws {
        let directory = try TemporaryDirectory("moved")
        let bucket = try TemporaryDirectory("moved-bucket")
        let store = try await DirectoryStore.open(directory: bucket.path)
        let catalog = Catalog(store: store)
        let blockBytes = 65_536
        let node = try NodeReference(cluster: "c", node: "a")
        var parameters = VolumeParameters(blockSize: blockBytes)
        parameters.retention = RetentionPolicy(last: 1)
        let volume = try await catalog.createVolume(
            NewVolume(name: "v", requiredBytes: 0, limitBytes: 0, parameters: parameters, claim: nil))
        var generator = SeededGenerator(seed: 7)
        var bytes = generator.noise(16 * blockBytes)
        for _ in 0..<2 {
            let head = try await catalog.updateHead(volume.volume) {
                try $0.opening(by: node, expectedEpoch: nil, now: Date())
            }.value
            var parent: GenerationRecord?
            if let newest = head.newest { parent = try await catalog.generation(newest) }
            let options = StageOutOptions(
                blockSize: try BlockSize(bytes: blockBytes), packBytes: 4 << 20, fanOutLog2: 2)
            let staged = try await StageOut(store: store, lineage: volume.lineage, options: options).run(
                source: MemoryVolume(bytes), changed: .unknown, parent: parent?.map)
            let record = GenerationRecord(
                volume: volume.volume, incarnation: volume.incarnation, lineage: volume.lineage,
                number: (parent?.number ?? 0) + 1, parent: head.newest, epoch: head.epoch, map: staged.root,
                provenance: Provenance(
                    node: node, cutAt: catalog.time, stagedOutAt: catalog.time, readBytes: 0, changedBytes: 0,
                    sentBytes: 0))
            let reference = try await catalog.write(record, wrote: staged.packs)
            _ = try await catalog.updateHead(volume.volume) {
                try $0.committing(reference, by: node, epoch: head.epoch, closing: true, now: Date())
            }
            // All but the first three blocks.
            bytes.replaceSubrange((3 * blockBytes)..., with: generator.noise(13 * blockBytes))
        }
        let newest = try #require(try await catalog.volume(volume.volume).head.newest)
        let record = try await catalog.generation(newest)
        let packs = PackID.folder(lineage: volume.lineage)
        let before = try await store.list(prefix: packs, after: nil, limit: 10).map(\.key)
        for _ in 0..<5 {
            let report = try await GarbageCollection(
                catalog: catalog, options: .init(grace: .zero, rewrittenFromBytes: 0)
            ).run()
            #expect(report.failures.isEmpty, "\(report.failures)")
        }
        let after = try await store.list(prefix: packs, after: nil, limit: 10).map(\.key)
        #expect(after.count == 2 && Set(before).intersection(after).count == 1, "\(before) \(after)")

        let root = directory + "root.json"
        try JSONEncoder().encode(record.map).write(to: URL(fileURLWithPath: root))
        let image = directory + "image"
        let reader = try await TestProcess.start(
            try PackageRoot.systemProgram("python3", package: "python3"),
            [
                "\(PackageRoot.path)/Tests/FormatsTests/Python/read_volume.py", root,
                bucket + packs, volume.lineage, image,
                bucket + MovedPieces.folder(lineage: volume.lineage),
            ], directory: directory)
        #expect(try await reader.waitForExit() == 0, "\(reader.output)")
        let sink = MemoryVolume([UInt8](repeating: 0, count: bytes.count))
        try await Restore(store: store, lineage: volume.lineage).run(record.map, to: sink, have: .zeros)
        let read = [UInt8](try Data(contentsOf: URL(fileURLWithPath: image)))
        #expect(read == sink.bytes)
        #expect(read.prefix(3 * blockBytes).elementsEqual(bytes.prefix(3 * blockBytes)))
    }
}
