import ArgumentParser
import Blocking
import Errors
import Ext4
import Foundation
import Glibc
import Persistence
import Settings
import Synchronization
import Units

struct ListCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ls", abstract: "Lists files of a generation, straight from the bucket.",
        discussion: """
            Only the blocks that the listing needs are fetched. Nothing is mounted, and no privileges are needed. It is for \
            ext4; of other file systems, restore the generation, and mount that.
            """)

    @Argument(help: VolumeArgument.help)
    var volume: VolumeArgument
    @Argument(help: "A directory or file, from the root of the volume's file system.") var path = "/"
    @OptionGroup(title: "Store") var store: StoreOptions
    @Flag(help: "Print one JSON array, for scripts.") var json = false

    private struct Description: Encodable {
        var name: String
        var kind: String
        /// Octal.
        var permissions: String
        var user: UInt32
        var group: UInt32
        var links: UInt16
        var sizeBytes: UInt64
        var modifiedAt: Date
        /// Of a symbolic link.
        var target: String?
    }

    mutating func run() async throws {
        let settings = try store.settings()
        let (volume, path, json) = (volume, path, json)
        try await untilInterrupted {
            let entries = try await FileCommands.reading(volume, settings) { files in
                let entry = try files.entry(at: path)
                return entry.kind == .directory ? try files.entries(of: path) : [entry]
            }
            guard json else { return Output.line(Self.table(entries)) }
            try Output.json(
                entries.map {
                    Description(
                        name: $0.name, kind: $0.kind.rawValue, permissions: String($0.permissions, radix: 8),
                        user: $0.user, group: $0.group, links: $0.links, sizeBytes: $0.sizeBytes,
                        modifiedAt: $0.modifiedAt, target: $0.target)
                })
        }
    }

    private static func table(_ entries: [Ext4Entry]) -> String {
        guard !entries.isEmpty else { return "no files" }
        var table = Table([
            ("MODE", .left), ("USER", .right), ("GROUP", .right), ("BYTES", .right), ("MODIFIED (UTC)", .left),
            ("NAME", .left),
        ])
        for entry in entries {
            table.add([
                mode(entry), "\(entry.user)", "\(entry.group)", "\(entry.sizeBytes)", Output.time(entry.modifiedAt),
                entry.name + (entry.target.map { " -> \($0)" } ?? ""),
            ])
        }
        return table.text
    }

    /// "drwxr-xr-x", as ls has it.
    private static func mode(_ entry: Ext4Entry) -> String {
        let kind =
            switch entry.kind {
            case .file: "-"
            case .directory: "d"
            case .link: "l"
            case .fifo: "p"
            case .socket: "s"
            case .blockDevice: "b"
            case .characterDevice: "c"
            case .unknown: "?"
            }
        let letters = Array("rwxrwxrwx")
        var text = (0..<9).map { entry.permissions >> UInt16(8 - $0) & 1 == 1 ? letters[$0] : "-" }
        for (bit, place, letter) in [(0o4000, 2, "s"), (0o2000, 5, "s"), (0o1000, 8, "t")] as [(UInt16, Int, String)]
        where entry.permissions & bit != 0 {
            text[place] = Character(text[place] == "x" ? letter : letter.uppercased())
        }
        return kind + String(text)
    }
}

struct PrintCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cat", abstract: "Prints a file of a generation, straight from the bucket.",
        discussion: """
            Only the blocks that the file needs are fetched, and each is verified before it is printed. It is for ext4.
            """)

    @Argument(help: VolumeArgument.help)
    var volume: VolumeArgument
    @Argument(help: "The file, from the root of the volume's file system.") var path: String
    @OptionGroup(title: "Store") var store: StoreOptions

    mutating func run() async throws {
        let settings = try store.settings()
        let (volume, path) = (volume, path)
        try await untilInterrupted {
            try await FileCommands.reading(volume, settings) { files in
                try files.contents(of: path, deliver: Self.write)
            }
        }
    }
}

extension PrintCommand {
    private static func write(_ bytes: UnsafeRawBufferPointer) throws {
        var rest = bytes
        while !rest.isEmpty {
            let count = Glibc.write(STDOUT_FILENO, rest.baseAddress, rest.count)
            if count < 0 {
                let reason = errno
                if reason == EINTR { continue }
                // As with others of its kind, no word where the reader has had enough.
                if reason == EPIPE { throw ExitCode(ExitMeaning.failure.rawValue) }
                throw PerSSDError(.failedPrecondition, "cannot write the file: \(String(cString: strerror(reason)))")
            }
            rest = UnsafeRawBufferPointer(rebasing: rest[count...])
        }
    }
}

/// What commands that read one generation have in common.
private enum FileCommands {
    static func reading<Value: Sendable>(
        _ argument: VolumeArgument, _ settings: StoreSettings, _ body: @escaping @Sendable (Ext4) throws -> Value
    ) async throws -> Value {
        let catalog = Catalog(store: try await openExistingStore(settings))
        let state = try await VolumeFinder(catalog: catalog).state(argument)
        return try await GenerationFiles.reading(state, in: catalog, body)
    }
}
