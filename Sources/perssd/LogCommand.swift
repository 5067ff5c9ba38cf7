import ArgumentParser
import Errors
import Persistence
import Settings
import Units

struct LogCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "log", abstract: "Shows a volume's history: its generations, and what hangs on them.",
        discussion: """
            Newest first, with who had the volume for each: pods, and the labels of their workflow. Snapshots, pins and \
            readers stand beside what they keep. Volumes that begin at a generation, and what nodes had not committed when \
            they lost the volume, stand above what they are based on. A clone's history goes on in that of its origin.
            """)

    @Argument(help: "The volume: id, name, or namespace/claim.") var volume: VolumeArgument
    @Option(help: "How many generations to show at the most.") var limit = 20
    @OptionGroup(title: "Store") var store: StoreOptions
    @Flag(help: "Print one JSON object, for scripts.") var json = false

    func validate() throws {
        guard volume.state == nil else { throw ValidationError("give the volume without a generation") }
        guard limit > 0 else { throw ValidationError("--limit has to be 1 or more") }
    }

    mutating func run() async throws {
        let catalog = Catalog(store: try await openExistingStore(store.settings()))
        let listing = try await VolumeFinder(catalog: catalog).volume(volume.volume)
        let history = try await catalog.historySteps(of: listing.head, limit: limit)
        let marks = try await catalog.marks(of: listing, on: history.generations.map(\.reference))
        if json {
            try Output.json(LogReport(listing, history, marks))
        } else {
            Output.line(Self.header(listing))
            Output.line("\n" + Self.text(listing, history, marks))
        }
        for problem in marks.problems {
            Output.note(printable("what hangs on the generations is not shown in full: \(problem)"))
        }
        // What could be followed is shown before it is said that there should be more.
        if let failure = history.failure { throw failure }
    }

    private static func text(_ listing: VolumeListing, _ history: HistorySteps, _ marks: HistoryMarks) -> String {
        var graph = LogGraph(listing, marks)
        for step in history.steps { graph.add(step) }
        if history.isWhole { graph.end() }
        var lines = graph.lines
        if history.generations.isEmpty, history.failure == nil {
            lines.append("no generations: nothing has been staged out yet")
        }
        if !history.isWhole, history.failure == nil { lines.append("older ones: --limit shows more") }
        return lines.joined(separator: "\n")
    }

    private static func header(_ listing: VolumeListing) -> String {
        let (record, head) = (listing.record, listing.head)
        var lines = [
            ("volume", record.title), ("id", record.volume.rawValue), ("name", record.name),
            ("size", ByteCount(record.capacityBytes).description),
            ("blocks", ByteCount(record.parameters.blockSize).description), ("pool", record.parameters.pool),
            ("created", "\(Output.time(record.createdAt)) UTC"), ("lease", "\(leaseText(head)) (epoch \(head.epoch))"),
        ]
        if let origin = record.origin {
            let generation = origin.generation.map { ", generation \($0.number)" } ?? ", which was empty"
            lines.append(("made of", "\(origin.source)\(generation)"))
        }
        if let loss = head.loss {
            lines.append(
                (
                    "loss",
                    "what \(loss.node) wrote between \(Output.time(loss.openSince)) and "
                        + "\(Output.time(loss.revokedAt)) UTC, at epoch \(loss.epoch), was given up"
                ))
        }
        return Output.fields(lines)
    }
}

/// A history as `--json` shows it. Keys stay; new ones may come.
private struct LogReport: Encodable {
    /// A generation, with what hangs on it.
    struct Entry: Encodable {
        var generation: GenerationDescription
        var marks: Marks

        func encode(to encoder: any Encoder) throws {
            try generation.encode(to: encoder)
            try marks.encode(to: encoder)
        }
    }

    struct Marks: Encodable {
        /// Whose it is: of a clone, its origin's for what it began with.
        var volume: String
        /// SHA-256 of the record.
        var digest: String
        var snapshots: [String]
        var labels: [String]
        /// Nodes that read it.
        var readers: [String]
        /// Ids of the volumes that begin at it.
        var clones: [String]
    }

    struct Branch: Encodable {
        var epoch: UInt64
        /// The number of the generation that it is based on; 0 for none.
        var base: UInt64
        var generation: GenerationDescription
    }

    var volume: VolumeDescription
    var generations: [Entry]
    var branches: [Branch]
    /// How many have expired, of those between the ones that are shown.
    var expired: UInt64
    /// Whether there are no older ones.
    var isWhole: Bool

    init(_ listing: VolumeListing, _ history: HistorySteps, _ marks: HistoryMarks) {
        volume = VolumeDescription(listing)
        generations = history.generations.map { generation in
            let reference = generation.reference
            return Entry(
                generation: GenerationDescription(generation.record),
                marks: Marks(
                    volume: reference.volume.rawValue, digest: reference.digest.hex,
                    snapshots: (marks.snapshots[reference] ?? []).map(\.name).sorted(),
                    labels: (marks.pins[reference] ?? []).map(\.label).sorted(),
                    readers: (marks.readers[reference] ?? []).map(\.node.description).sorted(),
                    clones: (marks.clones[reference] ?? []).map(\.record.volume.rawValue)))
        }
        branches = marks.branches.map {
            Branch(epoch: $0.epoch, base: $0.number - 1, generation: GenerationDescription($0))
        }
        expired = history.expired
        isWhole = history.isWhole
    }
}
