import ArgumentParser
import Blocking
import Foundation
import Persistence
import SystemPackage

struct StageOutCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stage-out", abstract: "Stages out an image, with the options that the node uses.")

    @OptionGroup var store: StoreOptions
    @Option(help: "The image.")
    var image: String
    @Option(help: "A file to keep the new root in.")
    var root: String
    @Option(help: "Bytes of a block, of a first stage-out.")
    var blockSize: Int?
    @Option(help: "The file that keeps the parent's root.")
    var parent: String?
    @Option(help: "An image that holds the parent's contents, so that changed blocks can be stored as patches.")
    var base: String?
    @OptionGroup var change: ChangeOptions

    func run() async throws {
        let store = try store.open()
        let source = try FileBlockSource(path: FilePath(image))
        let parent = try parent.map { try readRoot($0) }
        let base = try base.map { try FileBlockSource(path: FilePath($0)) }
        var options = StageOutOptions(compressionLevel: VolumeParameters().compressionLevel)
        options.blockSize = try parent?.blockSize ?? BlockSize(bytes: blockSize ?? VolumeParameters().blockSize)
        let changed: ChangedRanges =
            change.changedBytes == 0 ? .unknown : .only(try change.pages(of: source.sizeBytes).ranges)
        let stageOut = StageOut(store: store, lineage: benchmarkLineage, options: options)
        var result: StageOutResult?
        let figures = try await measured(store) {
            let made = try await stageOut.run(source: source, changed: changed, parent: parent, base: base)
            result = made
            return made.statistics
        }
        if let map = result?.root {
            try JSONEncoder().encode(map).write(to: URL(fileURLWithPath: root))
        }
        try printJSON(figures)
    }
}

struct RestoreCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restore", abstract: "Restores what a stage-out stored to an image.")

    @OptionGroup var store: StoreOptions
    @Option(help: "The file that keeps the root.")
    var root: String
    @Option(help: "The image: a new one, or with --have one that is there.")
    var image: String
    @Option(help: "The file that keeps the root of what the image holds, so that only what differs is fetched.")
    var have: String?

    func run() async throws {
        let store = try store.open()
        let map = try readRoot(root)
        let have = try have.map { try readRoot($0) }
        let sink = try await BlockingPool.shared.run {
            try have == nil
                ? FileBlockSink(creating: FilePath(image), sizeBytes: map.capacityBytes)
                : FileBlockSink(path: FilePath(image))
        }
        let contents = have.map { SinkContents.map($0) } ?? .zeros
        try printJSON(
            try await measured(store) {
                try await Restore(store: store, lineage: benchmarkLineage).run(map, to: sink, have: contents)
            })
    }
}

private func readRoot(_ path: String) throws -> MapRoot {
    try JSONDecoder().decode(MapRoot.self, from: Data(contentsOf: URL(fileURLWithPath: path)))
}
