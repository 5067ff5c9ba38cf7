import Errors
import Foundation
import Logging
import RPC
import Synchronization
import TestSupport
import Testing

@testable import NodeControl

@Suite struct ControlTests {
    private let logger = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })

    private static func report(_ outcomes: [FlushReport.Outcome], isFinished: Bool = true) -> FlushReport {
        FlushReport(
            node: "c/n", deadlineSeconds: 5, seconds: 1, isFinished: isFinished,
            volumes: outcomes.enumerated().map { FlushReport.Volume(id: "v\($0)", isPublished: true, outcome: $1) })
    }

    /// Runs `body` with the socket of a server whose flushes answer with `reports`.
    private func serving(
        _ reports: [FlushReport], asked: @escaping @Sendable (ContinuousClock.Instant?) -> Void = { _ in },
        body: (RPCAddress) async throws -> Void
    ) async throws {
        let directory = try TemporaryDirectory("control")
        let address = RPCAddress.unix(path: directory + "control.sock")
        let server = try ControlServer(at: address, logger: logger) { deadline in
            asked(deadline)
            return AsyncStream { continuation in
                for report in reports { continuation.yield(report) }
                continuation.finish()
            }
        }
        try await server.start()
        let running = Task { await server.run(gracePeriod: .zero) }
        try await body(address)
        running.cancel()
        await running.value
    }

    @Test func aFlushTellsHowFarItIsAndHowItEnded() async throws {
        let reports = [Self.report([.running], isFinished: false), Self.report([.committed, .late])]
        let deadlines = Mutex<[ContinuousClock.Instant?]>([])
        let seen = Mutex<[FlushReport]>([])
        try await serving(reports, asked: { deadline in deadlines.withLock { $0.append(deadline) } }) { address in
            let client = ControlClient(at: address)
            let start = ContinuousClock.now
            let last = try await client.flush(within: .seconds(5)) { report in seen.withLock { $0.append(report) } }
            #expect(last == reports[1])
            #expect(seen.withLock { $0 } == reports)
            let deadline = try #require(deadlines.withLock { $0 }.first ?? nil)
            #expect(deadline >= start + .seconds(5) && deadline <= .now + .seconds(5))
            _ = try await client.flush(within: nil)
            #expect(deadlines.withLock { $0.count } == 2 && deadlines.withLock { $0.last } == .some(nil))
        }
    }

    @Test func onlyTheOwnerOfTheSocketMayCall() async throws {
        try await serving([]) { address in
            guard case .unix(let path) = address else { return }
            let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
            #expect(mode == 0o600)
        }
        #expect(throws: PerSSDError.self) {
            try ControlServer(at: .tcp(host: "127.0.0.1", port: 0), logger: logger) { _ in AsyncStream { $0.finish() } }
        }
    }

    /// That the plugin ends in the middle must not look like a flush that saved all.
    @Test(arguments: [[], [ControlTests.report([.committed], isFinished: false)]])
    func aFlushThatDoesNotEndIsNoSuccess(reports: [FlushReport]) async throws {
        try await serving(reports) { address in
            let error = await #expect(throws: PerSSDError.self) {
                try await ControlClient(at: address).flush(within: .seconds(5))
            }
            #expect(error?.code == .unavailable)
        }
    }

    @Test func deadlinesThatCannotBeAreRefused() async throws {
        try await serving([Self.report([])]) { address in
            for deadline in [Duration.zero, .seconds(-1), .seconds(8 * 86400)] {
                let error = await #expect(throws: PerSSDError.self) {
                    try await ControlClient(at: address).flush(within: deadline)
                }
                #expect([.invalidArgument, .unavailable, .failedPrecondition].contains(error?.code), "\(deadline)")
            }
        }
    }

    @Test func whereNobodyServesTheErrorSaysSo() async throws {
        let directory = try TemporaryDirectory("control")
        let error = await #expect(throws: PerSSDError.self) {
            try await ControlClient(at: .unix(path: directory + "none.sock")).flush(within: .seconds(5))
        }
        #expect(error?.code == .failedPrecondition && error?.message.contains("none.sock") == true)
    }
}

@Suite struct FlushReportTests {
    private func volume(_ outcome: FlushReport.Outcome) -> FlushReport.Volume {
        FlushReport.Volume(
            id: "vol-1", name: "default/results", isPublished: outcome == .committed, outcome: outcome,
            unsavedBytes: 5 << 20, generation: 7, sentBytes: outcome == .committed ? 3 << 20 : nil, seconds: 2,
            writtenSinceBytes: 4096, detail: outcome == .late ? "staging out: 43%" : "the store is away")
    }

    @Test func eachOutcomeHasWords() {
        #expect(
            volume(.committed).text
                == "default/results: committed as generation 7, 3.0 MiB sent, 2.0 s; a pod has it, written since: 4.0 KiB"
        )
        #expect(volume(.late).text == "default/results: NOT in time (staging out: 43%), 5.0 MiB to save")
        #expect(volume(.failed).text == "default/results: FAILED: the store is away")
        #expect(volume(.notBegun).text == "default/results: NOT begun in time, 5.0 MiB to save")
        #expect(volume(.unchanged).text == "default/results: nothing to save")
    }

    @Test func onlyWhatIsInTheBucketIsSafe() {
        let safe = FlushReport.Outcome.allCases.filter(\.isSafe)
        #expect(safe == [.committed, .unchanged, .branch])
        for outcome in FlushReport.Outcome.allCases {
            var report = FlushReport(
                node: "c/n", deadlineSeconds: nil, seconds: 90, isFinished: true,
                volumes: [volume(.committed), volume(outcome)])
            #expect(report.isComplete == outcome.isSafe)
            #expect(report.summary.hasPrefix(outcome.isSafe ? "2 of 2" : "1 of 2"))
            report.isFinished = false
            #expect(!report.isComplete)
        }
        let empty = FlushReport(node: "c/n", deadlineSeconds: nil, isFinished: true)
        #expect(empty.isComplete && empty.summary.contains("no volume of node c/n"))
    }

    /// A plugin of another version may say more.
    @Test func unknownKeysAreIgnored() throws {
        var text = String(decoding: try ControlCoding.encode(volume(.late)), as: UTF8.self)
        text.insert(contentsOf: "\"new\":1,", at: text.index(after: text.startIndex))
        #expect(try ControlCoding.decode(FlushReport.Volume.self, Array(text.utf8)) == volume(.late))
        #expect(throws: PerSSDError.self) { try ControlCoding.decode(FlushReport.self, [1, 2]) }
    }
}
