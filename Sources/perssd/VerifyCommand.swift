import ArgumentParser
import Errors
import Persistence
import Settings
import Units

struct VerifyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Reads again and hashes again all that a generation reaches.",
        discussion: """
            With --all, the newest generation of each volume. With --history, also the records of all generations of the \
            volume: each has to be the one that the next was made from, up to the head. Ends with exit code 4 where \
            anything is not what was written.
            """)

    @Argument(help: VolumeArgument.help)
    var volume: VolumeArgument?
    @Flag(help: "Verify the newest generation of each volume.") var all = false
    @Flag(help: "Verify the chain of all generations, too.") var history = false
    @OptionGroup(title: "Store") var store: StoreOptions
    @Flag(help: "Print one JSON object, for scripts, and no progress.") var json = false

    private struct AllReport: Encodable {
        var isSound: Bool
        var volumes: [VerifyReport]
    }

    func validate() throws {
        guard (volume != nil) != all else { throw ValidationError("give a volume, or --all") }
    }

    mutating func run() async throws {
        let settings = try store.settings()
        let (volume, history, json) = (volume, history, json)
        try await untilInterrupted {
            let catalog = Catalog(store: try await openExistingStore(settings))
            let verification = Verification(catalog: catalog, checksHistory: history, isQuiet: json)
            let isSound: Bool
            if let volume {
                let listing = try await verification.finder.volume(volume.volume)
                let state = try await verification.finder.state(volume.state, of: listing)
                let report = try await verification.report(listing, state)
                if json { try Output.json(report) }
                isSound = report.isSound
            } else {
                let reports = try await verification.all()
                isSound = reports.allSatisfy(\.isSound)
                if json {
                    try Output.json(AllReport(isSound: isSound, volumes: reports))
                } else {
                    Output.line(Self.summary(reports))
                }
            }
            if !isSound { throw ExitCode(ExitMeaning.corrupt.rawValue) }
        }
    }

    private static func summary(_ reports: [VerifyReport]) -> String {
        let damaged = reports.filter { !$0.isSound }.count
        let empty = reports.filter { $0.isSound && $0.generation == nil }.count
        let count = reports.count == 1 ? "1 volume" : "\(reports.count) volumes"
        return "\(count): \(reports.count - damaged - empty) sound, \(damaged) damaged"
            + (empty > 0 ? ", \(empty) with nothing staged out yet" : "")
    }
}

/// What was found of one volume, as `--json` shows it. Keys stay; new ones may come.
struct VerifyReport: Encodable {
    struct History: Encodable {
        /// Whose records were read and found to be right.
        var generations: Int
        /// Those of them that nothing newer proves, as the record that names them is damaged.
        var unproved: Int
        /// Passed over, as nothing needed them any more.
        var expired: UInt64
        var oldest: UInt64?
    }

    var volume: String
    /// null where nothing has been staged out, or its record cannot be used.
    var generation: UInt64?
    /// null where it is no branch.
    var branchEpoch: UInt64?
    var contentDigest: String?
    var isSound = true
    /// What is wrong, one text each.
    var findings: [String] = []
    /// First and last byte of each part of the volume that cannot be restored.
    var damagedRanges: [[UInt64]] = []
    var verifiedBytes: UInt64 = 0
    var receivedBytes: UInt64 = 0
    var requests: UInt64 = 0
    /// Where it was asked for.
    var history: History?

    mutating func add(_ errors: [PerSSDError]) {
        findings += errors.map(\.description)
        if !errors.isEmpty { isSound = false }
    }
}

/// Verifies volumes, and tells people of each unless it is to be quiet.
private struct Verification: Sendable {
    let catalog: Catalog
    let checksHistory: Bool
    let isQuiet: Bool

    var finder: VolumeFinder { VolumeFinder(catalog: catalog) }

    /// Every volume that there is; damage of one is no reason not to look at the next.
    func all() async throws -> [VerifyReport] {
        var reports: [VerifyReport] = []
        for id in try await catalog.volumeIDs() {
            do {
                let listing = try await catalog.volume(id)
                reports.append(try await newest(of: listing))
            } catch let error as PerSSDError where error.code == .notFound {
                // Deleted; its id is remembered.
            } catch let error as PerSSDError where error.code == .corrupt || error.code == .unsupported {
                reports.append(damaged(VerifyReport(volume: id.rawValue), "volume \(id)", error))
            }
        }
        return reports
    }

    private func newest(of listing: VolumeListing) async throws -> VerifyReport {
        let (volume, title) = (listing.record.volume.rawValue, listing.record.title)
        guard let newest = listing.head.newest else {
            say("\(title) has no generation: nothing has been staged out yet")
            return VerifyReport(volume: volume)
        }
        do {
            return try await report(listing, FoundState(record: try await catalog.generation(newest)))
        } catch let error as PerSSDError where error.code == .corrupt || error.code == .unsupported {
            return damaged(VerifyReport(volume: volume), title, error)
        }
    }

    private func damaged(_ report: VerifyReport, _ subject: String, _ error: PerSSDError) -> VerifyReport {
        var report = report
        report.add([error])
        tellFindings(report)
        say("\(subject) is DAMAGED: it cannot be restored")
        return report
    }

    func report(_ listing: VolumeListing, _ state: FoundState) async throws -> VerifyReport {
        let record = state.record
        let verify = VerifyMap(store: catalog.store, lineage: record.lineage)
        let start = ContinuousClock.now
        let result = try await ProgressDisplay.during(
            "verifying \(printable(listing.record.title))", expectedBytes: record.map.allocatedBytes, isQuiet: isQuiet,
            meter: verify.meter
        ) { try await verify.run(record.map) }
        let blockSize = UInt64(record.map.blockSize.bytes)
        var report = VerifyReport(
            volume: listing.record.volume.rawValue, generation: record.number, branchEpoch: state.branchEpoch,
            contentDigest: record.map.contentDigest.hex,
            damagedRanges: result.damagedBlocks.map {
                [$0.lowerBound * blockSize, min($0.upperBound * blockSize, record.map.capacityBytes) - 1]
            },
            verifiedBytes: result.statistics.readBytes, receivedBytes: result.statistics.receivedBytes,
            requests: result.statistics.readRequests)
        report.add(result.findings)
        tellFindings(report)
        tell(listing, state, result, after: ContinuousClock.now - start)
        if checksHistory { try await addHistory(of: listing, to: &report) }
        return report
    }

    private func tell(
        _ listing: VolumeListing, _ state: FoundState, _ result: VerifyResult, after time: Duration
    ) {
        let subject = "\(state.title) of \(listing.record.title)"
        guard result.isSound else {
            let blocks = result.damagedBlocks.reduce(0) { $0 + UInt64($1.count) }
            let bytes = blocks * UInt64(state.record.map.blockSize.bytes)
            return say(
                "\(subject) is DAMAGED: \(result.findings.count) findings, \(ByteCount(bytes)) cannot be restored")
        }
        say(
            "\(subject) is sound: \(ByteCount(result.statistics.readBytes)) verified in \(time.text), "
                + "\(ByteCount(result.statistics.receivedBytes)) read from the store")
    }

    private func addHistory(of listing: VolumeListing, to report: inout VerifyReport) async throws {
        let check = try await catalog.checkHistory(of: listing.head)
        report.history = .init(
            generations: check.generations, unproved: check.unproved, expired: check.expired, oldest: check.oldest)
        report.add(check.findings)
        for finding in check.findings where !isQuiet { Output.note(printable("damaged: \(finding)")) }
        let title = listing.record.title
        guard check.isSound else {
            let oldest = check.oldest.map { "back to generation \($0)" } ?? "nowhere"
            let rest = check.unproved > 0 ? "; \(check.unproved) more are there, and nothing newer proves them" : ""
            return say("the history of \(title) is DAMAGED: it can be followed \(oldest)\(rest)")
        }
        let expired = check.expired > 0 ? "; \(check.expired) have expired" : ""
        say(
            "the history of \(title) is sound: \(check.generations) generations, each proved by the next one's record"
                + expired)
    }

    private func tellFindings(_ report: VerifyReport) {
        guard !isQuiet else { return }
        for finding in report.findings { Output.note(printable("damaged: \(finding)")) }
    }

    private func say(_ text: String) {
        if !isQuiet { Output.line(printable(text)) }
    }
}
