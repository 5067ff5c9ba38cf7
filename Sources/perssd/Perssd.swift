import ArgumentParser
import Foundation
import Settings

/// The command line: looking at volumes in the bucket, with no cluster at hand, and the demo.
struct Perssd: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "perssd",
        abstract: "Looks at, verifies and restores PerSSD's volumes, straight from the bucket.",
        discussion: """
            VOLUME is a volume's id (vol-...), its name (pvc-...), or namespace/claim. GENERATION is a number that \
            'perssd log' shows; without one it is the newest.

            Exit codes: 0 success, 1 failure, 2 wrong usage, 3 not found, 4 damaged or unknown data, 5 the store cannot \
            be used, 130 interrupted.
            """,
        version: version,
        subcommands: [
            VolumesCommand.self, LogCommand.self, SnapshotsCommand.self, ShowCommand.self, DiffCommand.self,
            VerifyCommand.self,
            RestoreCommand.self, CloneCommand.self, ListCommand.self, PrintCommand.self, NodesCommand.self,
            LeaseCommand.self, ForgetCommand.self, DeleteCommand.self, FlushCommand.self,
            PinCommand.self, CollectCommand.self, DemoCommand.self,
        ])
}

@main struct Main {
    static func main() async {
        exit(await runToEnd(Perssd.self))
    }
}
