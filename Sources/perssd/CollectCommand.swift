import ArgumentParser
import Errors
import Foundation
import Persistence
import Settings
import Units

struct CollectCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gc",
        abstract: "Removes what no volume, snapshot, clone, reader or pin needs any more.",
        discussion: """
            What is not needed is condemned first, and removed by a run that comes after the grace period, unless somebody \
            needs it by then. So it takes two runs for anything to go. Controllers collect by themselves, once a day if \
            they are not told otherwise; this is for when you do not want to wait, or no controller runs. It may be \
            interrupted at any time, and run beside other collections.
            """)

    @Flag(help: "Show what would be done, and why, and do nothing.") var dryRun = false
    @Option(
        help: ArgumentHelp(
            "How long what is condemned stays, and how old a pack has to be (default: 24h).",
            discussion: "Longer than any stage-out or restore takes: 1m to 720h.", valueName: "duration"))
    var grace: String?
    @OptionGroup(title: "Store") var store: StoreOptions
    @Flag(help: "Print one JSON object, for scripts.") var json = false

    mutating func validate() throws { _ = try options() }

    private func options() throws -> GarbageCollection.Options {
        guard let grace else { return GarbageCollection.Options() }
        guard let duration = Duration(parsing: grace), GarbageCollection.Options.graces.contains(duration) else {
            throw ValidationError("--grace is '\(grace.prefix(80))': give a duration from 1m to 720h, such as 24h")
        }
        return GarbageCollection.Options(grace: duration)
    }

    mutating func run() async throws {
        let options = try options()
        let settings = try store.settings()
        let (dryRun, json) = (dryRun, json)
        try await untilInterrupted {
            let catalog = Catalog(store: try await openExistingStore(settings))
            let collection = GarbageCollection(catalog: catalog, options: options)
            let report = dryRun ? try await collection.plan() : try await collection.run()
            if json {
                try Output.json(CollectionDescription(report, isDry: dryRun))
            } else {
                Self.tell(report, isDry: dryRun)
            }
            if !report.failures.isEmpty { throw ExitCode(ExitMeaning.failure.rawValue) }
        }
    }

    private static func tell(_ report: CollectionReport, isDry: Bool) {
        for lineage in report.lineages {
            let whose = lineage.volumes.isEmpty ? "lineage \(lineage.lineage)" : lineage.volumes.joined(separator: ", ")
            if let failure = lineage.failure { Output.note("\(printable(whose)): \(failure)") }
            for (words, garbage) in [
                (isDry ? "would be removed" : "removed", lineage.removed), ("in its grace period", lineage.waiting),
                (isDry ? "would be condemned" : "condemned", lineage.condemned), ("needed again", lineage.spared),
            ] {
                for generation in garbage.generations {
                    Output.line("\(printable(whose)): \(generation.reference), \(generation.reason): \(words)")
                }
                if !garbage.packs.isEmpty {
                    Output.line(
                        "\(printable(whose)): \(garbage.packs.count) packs, \(ByteCount(garbage.packBytes)): \(words)")
                }
            }
            if !lineage.rewritten.isEmpty {
                Output.line(
                    "\(printable(whose)): \(lineage.rewritten.count) packs that were mostly garbage: rewritten, "
                        + "\(ByteCount(lineage.movedBytes)) moved")
            }
        }
        let (removed, condemned, waiting) = (report.removed, report.condemned, report.waiting)
        let total = report.lineages.reduce(0) { $0 + $1.packBytes }
        Output.line(
            "\(isDry ? "would remove" : "removed") \(removed.generations.count) generations and "
                + "\(ByteCount(removed.packBytes)) in packs, of \(ByteCount(total)); \(isDry ? "would condemn" : "condemned") "
                + "\(condemned.generations.count) generations and \(ByteCount(condemned.packBytes)); "
                + "\(waiting.generations.count) generations and \(ByteCount(waiting.packBytes)) are in their grace period"
        )
    }
}

/// A collection as `--json` shows it. Keys stay; new ones may come.
private struct CollectionDescription: Encodable {
    struct Lineage: Encodable {
        var lineage: String
        var volumes: [String]
        /// What keeps each generation that stays.
        var kept: [String: String]
        var packs: Int
        var packBytes: UInt64
        var removed: Part
        var condemned: Part
        var waiting: Part
        var spared: Part
        var rewrittenPacks: Int
        var failure: String?
    }
    struct Part: Encodable {
        struct Generation: Encodable {
            var volume: String
            var incarnation: String
            var number: UInt64
            var reason: String
        }
        var generations: [Generation]
        var packs: [String]
        var packBytes: UInt64
        var otherObjects: [String]

        init(_ garbage: Garbage) {
            generations = garbage.generations.map {
                Generation(
                    volume: $0.reference.volume.rawValue, incarnation: $0.reference.incarnation.rawValue,
                    number: $0.reference.number, reason: $0.reason)
            }
            packs = garbage.packs.map(\.description)
            packBytes = garbage.packBytes
            otherObjects = garbage.others
        }
    }

    var isDryRun: Bool
    var lineages: [Lineage]

    init(_ report: CollectionReport, isDry: Bool) {
        isDryRun = isDry
        lineages = report.lineages.map { lineage in
            Lineage(
                lineage: lineage.lineage, volumes: lineage.volumes,
                kept: Dictionary(
                    lineage.kept.map { ("\($0.key.volume)@\($0.key.number)", $0.value) }, uniquingKeysWith: { $1 }),
                packs: lineage.packs, packBytes: lineage.packBytes, removed: Part(lineage.removed),
                condemned: Part(lineage.condemned), waiting: Part(lineage.waiting), spared: Part(lineage.spared),
                rewrittenPacks: lineage.rewritten.count, failure: lineage.failure?.description)
        }
    }
}
