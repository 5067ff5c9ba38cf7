import ArgumentParser
import Blocking
import Errors
import Persistence
import SystemPackage

struct MakeImageCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "make-image", abstract: "Makes a half-compressible volume image.")

    @Option(help: "The image to make.")
    var image: String
    @Option(help: "Bytes of contents: a multiple of 4 MiB.")
    var bytes: UInt64
    @Option(help: "Bytes of the volume, over which the contents are spread evenly; by default as many as the contents.")
    var nominalBytes: UInt64?
    @Option(help: "The same seed makes the same contents.")
    var seed: UInt64 = 1

    func run() async throws {
        try await BlockingPool.shared.run { try make() }
    }

    private func make() throws {
        let stretch: UInt64 = 4 << 20
        let stretches = bytes / stretch
        let nominal = nominalBytes ?? bytes
        guard bytes > 0, bytes.isMultiple(of: stretch), nominal >= bytes else {
            throw PerSSDError(.invalidArgument, "an image of \(nominal) bytes cannot hold \(bytes) bytes of contents")
        }
        let sink = try FileBlockSink(creating: FilePath(image), sizeBytes: nominal)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Int(stretch), alignment: 4096)
        defer { buffer.deallocate() }
        var contents = VolumeImage(seed: seed)
        let distance = nominal / stretches / stretch * stretch
        for index in 0..<stretches {
            contents.fill(buffer)
            try sink.write(at: index * distance, from: UnsafeRawBufferPointer(buffer))
        }
        try sink.flush()
    }
}

struct ChangeImageCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "change-image", abstract: "Rewrites random pages of an image in place.")

    @Option(help: "The image.")
    var image: String
    @OptionGroup var change: ChangeOptions

    func run() async throws {
        try await BlockingPool.shared.run {
            try change.apply(to: try FileBlockSink(path: FilePath(image)))
        }
    }
}

/// A small change, made to images, and told of to a stage-out.
struct ChangeOptions: ParsableArguments {
    @Option(help: "Bytes to change, in pages of 4 KiB.")
    var changedBytes: UInt64 = 0
    @Option(help: "The same seed changes the same pages.")
    var changeSeed: UInt64 = 2

    func pages(of sizeBytes: UInt64) throws -> PageChanges {
        try PageChanges(seed: changeSeed, changedBytes: changedBytes, sizeBytes: sizeBytes)
    }

    /// Blocks.
    func apply(to sink: FileBlockSink) throws {
        let changes = try pages(of: sink.sizeBytes)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: VolumeImage.pageBytes, alignment: 4096)
        defer { buffer.deallocate() }
        for page in changes.pages {
            changes.fill(buffer, page: page)
            try sink.write(at: page * UInt64(VolumeImage.pageBytes), from: UnsafeRawBufferPointer(buffer))
        }
        try sink.flush()
    }
}
