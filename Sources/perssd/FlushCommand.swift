import ArgumentParser
import Errors
import Foundation
import NodeControl
import RPC
import Settings
import Units

struct FlushCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "flush",
        abstract: "Brings all that the volumes of this node hold to the bucket.",
        discussion: """
            It speaks to the node plugin of the machine that it runs on, and has to be root there. Volumes that pods have are \
            saved as they are at some moment from now on, and stay with their pods; what was written after that moment is not \
            saved. The exit code is 0 where each volume is, and 1 where one is not. What is not done by the deadline goes on \
            for as long as the node plugin runs, and so it does when this is interrupted.
            """)

    @Option(
        help: ArgumentHelp(
            "How long it may take, such as 110s: 1s to 168h (default: as long as it does).", valueName: "duration"))
    var deadline: String?
    @Option(
        help: ArgumentHelp(
            "The node plugin's control socket (default: \(Self.defaultSocket)).",
            discussion: "Environment: PERSSD_CONTROL_SOCKET.", valueName: "file"),
        completion: .file())
    var socket: String?
    @Flag(help: "Print one JSON object, for scripts.") var json = false

    private static let defaultSocket = ServiceSettings.defaultStateDirectory + "/control.sock"

    mutating func validate() throws { _ = try limit() }

    private func limit() throws -> Duration? {
        guard let deadline else { return nil }
        guard let duration = Duration(parsing: deadline), FlushDeadline.range.contains(duration) else {
            throw ValidationError(
                "--deadline is '\(deadline.prefix(80))': give a duration from 1s to 168h, such as 110s")
        }
        return duration
    }

    mutating func run() async throws {
        let limit = try limit()
        let variable = ProcessInfo.processInfo.environment["PERSSD_CONTROL_SOCKET"].flatMap { $0.isEmpty ? nil : $0 }
        let path = socket ?? variable ?? Self.defaultSocket
        guard path.hasPrefix("/") else {
            throw PerSSDError(
                .invalidArgument, "'\(path.prefix(200))' is not an absolute path",
                remedy: "give the node plugin's control socket with --socket")
        }
        let json = json
        try await untilInterrupted {
            let client = ControlClient(at: try RPCAddress(path))
            let showsProgress = isatty(STDERR_FILENO) == 1
            let report = try await client.flush(within: limit) { report in
                // The last one clears the line.
                if showsProgress { Self.show(report.isFinished ? "" : Self.progress(report)) }
            }
            if json { try Output.json(report) } else { Self.tell(report) }
            guard report.isComplete else { throw ExitCode(ExitMeaning.failure.rawValue) }
        }
    }

    /// In place of what the terminal's last line says.
    private static func show(_ text: String) {
        try? FileHandle.standardError.write(contentsOf: Data("\r\u{1B}[K\(printable(text).prefix(200))".utf8))
    }

    static func progress(_ report: FlushReport) -> String {
        let done = report.volumes.count { ![.waiting, .running].contains($0.outcome) }
        let running = report.volumes.filter { $0.outcome == .running }.map(\.text)
        return "\(done) of \(report.volumes.count) volumes"
            + (running.isEmpty ? "" : "; " + running.joined(separator: "; "))
    }

    private static func tell(_ report: FlushReport) {
        if !report.volumes.isEmpty { Output.line(table(report).text) }
        if report.ephemeralVolumes > 0 {
            Output.line("\(report.ephemeralVolumes) ephemeral volumes of pods, which are never in the bucket")
        }
        Output.line(report.summary)
    }

    static func table(_ report: FlushReport) -> Table {
        var table = Table([
            ("VOLUME", .left), ("POD", .left), ("UNSAVED", .right), ("SENT", .right), ("TIME", .right),
            ("WRITTEN SINCE", .right), ("RESULT", .left),
        ])
        func bytes(_ count: UInt64?, _ none: String) -> String { count.map { "\(ByteCount($0))" } ?? none }
        for volume in report.volumes {
            table.add([
                volume.name ?? volume.id, volume.isPublished ? "yes" : "no", bytes(volume.unsavedBytes, "?"),
                bytes(volume.sentBytes, "-"), volume.seconds.map { Duration.seconds($0).text } ?? "-",
                volume.outcome == .committed ? bytes(volume.writtenSinceBytes, "?") : "-", result(volume),
            ])
        }
        return table
    }

    private static func result(_ volume: FlushReport.Volume) -> String {
        switch volume.outcome {
        case .committed: "committed as generation \(volume.generation ?? 0)"
        case .late: "NOT in time: \(volume.detail ?? "running")"
        case .notBegun: "NOT begun in time"
        default: volume.result
        }
    }
}
