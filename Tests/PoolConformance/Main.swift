import ArgumentParser
import LocalVolumes

/// Tries a pool of any kind. Where there is no device-mapper, as on many build machines, it runs in a virtual machine.
@main struct PoolConformance: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pool-conformance",
        subcommands: [
            SequenceCommand.self, MountedCommand.self, WritingCommand.self, KillsCommand.self, WorkCommand.self,
            StateCommand.self,
        ])
}

/// Opens a pool, and says what is in it, or why it cannot be opened.
struct StateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "state")

    @OptionGroup var options: PoolOptions

    func run() async throws {
        let pool = try await options.open()
        for copy in try await pool.recover() { say("copy \(copy.record.volume) \(copy.record.state)") }
        for damaged in (pool as? LVMPool)?.damagedCopies ?? [] { say("damaged \(damaged.volume): \(damaged.error)") }
        let usage = try await pool.usage()
        say("total \(usage.totalBytes) free \(usage.freeBytes)")
        try await pool.check()
    }
}
