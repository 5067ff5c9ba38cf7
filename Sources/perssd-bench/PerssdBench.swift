import ArgumentParser
import Errors
import Foundation
import Persistence

/// The parts of the benchmark that are PerSSD's own, each a process of its own, so that the system can tell what it took.
/// `Benchmarks/run.py` calls them, and all that they are compared with.
@main struct PerssdBench: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "perssd-bench",
        abstract: "Does the steps that make bench measures. Each prints what it did as one line of JSON.",
        subcommands: [
            MakeImageCommand.self, ChangeImageCommand.self, StageOutCommand.self, RestoreCommand.self,
            NodeCommand.self,
        ])
}

/// The S3 store that is measured. Credentials come from the environment.
struct StoreOptions: ParsableArguments {
    @Option(help: "Where the server listens, such as http://127.0.0.1:8333.")
    var endpoint: String
    @Option(help: "An existing bucket.")
    var bucket: String
    @Option(help: "What all keys begin with.")
    var prefix: String

    func open() throws -> S3Store {
        try S3Store(S3Configuration(bucket: bucket, prefix: prefix, endpoint: endpoint))
    }
}

/// Packs of different runs have different prefixes, so one lineage is enough.
let benchmarkLineage = "00000000000000000000000000000001"

/// What a step took, as the script reads it.
struct StepFigures: Encodable {
    var wallSeconds: Double
    /// Of it, the time that the server took to answer, summed over all requests.
    var serverSeconds: Double
    var requests: Int
    /// Bodies of requests and of answers.
    var sentBytes: UInt64
    var receivedBytes: UInt64
    /// From the device.
    var readBytes: UInt64 = 0
    /// Bytes of blocks and patches as they are stored, without the map.
    var storedBytes: UInt64 = 0
    var blocksExamined: UInt64 = 0
    var blocksChanged: UInt64 = 0
}

/// Measures `body` by the clock, and by what it asks of the store.
func measured(_ store: S3Store, _ body: () async throws -> TransferStatistics) async throws -> StepFigures {
    let before = store.statistics
    let start = ContinuousClock.now
    let transfer = try await body()
    let wall = ContinuousClock.now - start
    let asked = store.statistics.since(before)
    return StepFigures(
        wallSeconds: wall / .seconds(1), serverSeconds: asked.waited / .seconds(1), requests: asked.totalRequests,
        sentBytes: asked.bytesSent, receivedBytes: asked.bytesReceived, readBytes: transfer.readBytes,
        storedBytes: transfer.storedBytes, blocksExamined: transfer.blocksExamined,
        blocksChanged: transfer.blocksChanged)
}

func printJSON(_ value: some Encodable) throws {
    print(String(decoding: try JSONEncoder().encode(value), as: UTF8.self))
}
