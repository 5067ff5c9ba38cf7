import ArgumentParser
import Errors
import Persistence
import Settings
import Units

struct DiffCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "diff", abstract: "Shows which files of two generations differ, and in which bytes.",
        discussion: """
            With one generation, it is compared with the one before it; without a number, that is the newest. With two, the \
            first is what the second is compared with; they may be of different volumes with blocks of the same size. \
            Bytes are told of as whole blocks, from the block maps: none of the data is read. Files of an ext4 are told of by \
            its directories and inodes: + added, - removed, * changed, ~ owner, permissions or other attributes only. Of \
            these only the blocks that they take are fetched, once where the two have them in common.
            """)

    @Argument(help: "A volume (id, name, or namespace/claim), and @GENERATION for another than the newest.")
    var first: VolumeArgument
    @Argument(help: "What to compare with it.") var second: VolumeArgument?
    @Option(help: "How many files and ranges to list at the most; all are counted.") var limit = 1000
    @Flag(inversion: .prefixedNo, help: "Tell which files differ.") var files = true
    @OptionGroup(title: "Store") var store: StoreOptions
    @Flag(help: "Print one JSON object, for scripts.") var json = false

    private struct Side: Encodable {
        var volume: String
        var generation: UInt64
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
            let (old, new) = try await Self.sides(first, second, finder)
            let stored = { StoredMap(root: $0, store: catalog.store, lineage: $1) }
            let difference = try MapDifference(
                of: stored(new.map, new.lineage), since: old.map { stored($0.map, $0.lineage) })
            var report = Report(
                from: old.map(Self.side), to: Self.side(new), blockSize: new.map.blockSize.bytes, differingBytes: 0,
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
                        new, since: old, differing: differing, in: catalog, limit: limit)
                } catch let error as PerSSDError where error.code == .failedPrecondition {
                    report.filesProblem = error.message
                }
            }
            if json { try Output.json(report) } else { Self.tell(report, old, new) }
        }
    }

    /// The records of both; nothing as the older one, where that would be before a volume's first.
    private static func sides(
        _ first: VolumeArgument, _ second: VolumeArgument?, _ finder: VolumeFinder
    ) async throws -> (old: GenerationRecord?, new: GenerationRecord) {
        let record = try await finder.generation(first)
        guard let second else {
            guard let parent = record.parent else { return (nil, record) }
            return (try await finder.catalog.generation(parent), record)
        }
        return (record, try await finder.generation(second))
    }

    private static func side(_ record: GenerationRecord) -> Side {
        Side(
            volume: record.volume.rawValue, generation: record.number, capacityBytes: record.map.capacityBytes,
            contentDigest: record.map.contentDigest.hex)
    }

    private static func tell(_ report: Report, _ old: GenerationRecord?, _ new: GenerationRecord) {
        func title(_ record: GenerationRecord) -> String {
            "generation \(record.number)" + (record.volume == old?.volume ?? new.volume ? "" : " of \(record.volume)")
        }
        Output.line("\(old.map(title) ?? "an empty volume") -> \(title(new))")
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
