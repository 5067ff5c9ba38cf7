import ArgumentParser
import Errors
import Persistence
import Settings
import Units

struct DiffCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "diff", abstract: "Shows which files of two generations differ, and in which bytes.",
        discussion: """
            With one generation, it is compared with the one before it; without a number, that is the newest; a branch is \
            compared with the generation that it is based on. With two, the first is what the second is compared with; they may be of different volumes with blocks of the same size. \
            Bytes are told of as whole blocks, from the block maps: none of the data is read. Files of an ext4 are told of by \
            its directories and inodes: + added, - removed, * changed, ~ owner, permissions or other attributes only. Of \
            these only the blocks that they take are fetched, once where the two have them in common.
            """)

    @Argument(
        help:
            "A volume (id, name, or namespace/claim), and @GENERATION or @branch-EPOCH for another state than the newest."
    )
    var first: VolumeArgument
    @Argument(help: "What to compare with it.") var second: VolumeArgument?
    @Option(help: "How many files and ranges to list at the most; all are counted.") var limit = 1000
    @Flag(inversion: .prefixedNo, help: "Tell which files differ.") var files = true
    @OptionGroup(title: "Store") var store: StoreOptions
    @Flag(help: "Print one JSON object, for scripts.") var json = false

    private struct Side: Encodable {
        var volume: String
        /// Of a branch, the number that it would have got.
        var generation: UInt64
        /// null where it is no branch.
        var branchEpoch: UInt64?
        var capacityBytes: UInt64
        var contentDigest: String
    }

    private struct Part: Encodable {
        var offset: UInt64
        var length: UInt64
    }

    private struct Report: Encodable {
        /// null where the generation is a volume's first: it is compared with zeros.
        var from: Side?
        var to: Side
        var blockSize: Int
        var differingBytes: UInt64
        var rangeCount: Int
        /// Ascending; the first of them, where there are more than the limit.
        var ranges: [Part]
        /// null where they were not asked for, or cannot be read, for which `filesProblem` has the reason.
        var files: FileDifferences?
        var filesProblem: String?
    }

    func validate() throws {
        guard limit > 0 else { throw ValidationError("--limit has to be 1 or more") }
    }

    mutating func run() async throws {
        let settings = try store.settings()
        let (first, second, limit, json, wantsFiles) = (first, second, limit, json, files)
        try await untilInterrupted {
            let catalog = Catalog(store: try await openExistingStore(settings))
            let finder = VolumeFinder(catalog: catalog)
            let (older, newer) = try await Self.sides(first, second, finder)
            let (old, new) = (older?.record, newer.record)
            let stored = { StoredMap(root: $0, store: catalog.store, lineage: $1) }
            let difference = try MapDifference(
                of: stored(new.map, new.lineage), since: old.map { stored($0.map, $0.lineage) })
            var report = Report(
                from: older.map(Self.side), to: Self.side(newer), blockSize: new.map.blockSize.bytes, differingBytes: 0,
                rangeCount: 0, ranges: [])
            var differing: [Range<UInt64>] = []
            try await difference.run { range in
                if wantsFiles { differing.append(range) }
                report.differingBytes += UInt64(range.count)
                report.rangeCount += 1
                if report.ranges.count < limit {
                    report.ranges.append(Part(offset: range.lowerBound, length: UInt64(range.count)))
                }
            }
            if wantsFiles {
                do {
                    report.files = try await FileDifferences.find(
                        newer, since: older, differing: differing, in: catalog, limit: limit)
                } catch let error as PerSSDError where error.code == .failedPrecondition {
                    report.filesProblem = error.message
                }
            }
            if json { try Output.json(report) } else { Self.tell(report, older, newer) }
        }
    }

    /// The records of both; nothing as the older one, where that would be before a volume's first.
    private static func sides(
        _ first: VolumeArgument, _ second: VolumeArgument?, _ finder: VolumeFinder
    ) async throws -> (old: FoundState?, new: FoundState) {
        let listing = try await finder.volume(first.volume)
        let state = try await finder.state(first.state, of: listing)
        if let second { return (state, try await finder.state(second)) }
        if state.isBranch {
            guard state.record.number > 1 else { return (nil, state) }
            guard let base = try await finder.base(of: state.record, listing) else {
                throw PerSSDError(
                    .notFound,
                    "\(state.title) is based on generation \(state.record.number - 1), which has expired",
                    remedy: "name another generation to compare it with")
            }
            return (FoundState(record: base.record), state)
        }
        guard let parent = state.record.parent else { return (nil, state) }
        return (FoundState(record: try await finder.catalog.generation(parent)), state)
    }

    private static func side(_ state: FoundState) -> Side {
        Side(
            volume: state.record.volume.rawValue, generation: state.record.number, branchEpoch: state.branchEpoch,
            capacityBytes: state.record.map.capacityBytes, contentDigest: state.record.map.contentDigest.hex)
    }

    private static func tell(_ report: Report, _ older: FoundState?, _ newer: FoundState) {
        let (old, new) = (older?.record, newer.record)
        func title(_ state: FoundState) -> String {
            state.title + (state.record.volume == old?.volume ?? new.volume ? "" : " of \(state.record.volume)")
        }
        Output.line("\(older.map(title) ?? "an empty volume") -> \(title(newer))")
        if let old, old.map.capacityBytes != new.map.capacityBytes {
            Output.line("size: \(ByteCount(old.map.capacityBytes)) -> \(ByteCount(new.map.capacityBytes))")
        }
        guard report.rangeCount > 0 else { return Output.line("no byte differs") }
        report.files?.tell()
        if let problem = report.filesProblem { Output.line("files are not compared: \(printable(problem))") }
        var table = Table([("FIRST BYTE", .right), ("LAST BYTE", .right), ("SIZE", .right)])
        for part in report.ranges {
            table.add(["\(part.offset)", "\(part.offset + part.length - 1)", ByteCount(part.length).description])
        }
        Output.line(table.text)
        let unlisted = report.rangeCount - report.ranges.count
        if unlisted > 0 { Output.line("... and \(unlisted) more: --limit shows them") }
        Output.line(
            "\(report.rangeCount) \(report.rangeCount == 1 ? "range" : "ranges"), \(ByteCount(report.differingBytes)) in "
                + "blocks of \(new.map.blockSize), of \(ByteCount(new.map.capacityBytes))")
    }
}
