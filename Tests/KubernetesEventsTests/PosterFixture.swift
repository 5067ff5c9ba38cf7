import Foundation
import HTTP
import Logging
import Persistence
import Synchronization
import VolumeEvents

@testable import KubernetesEvents

/// What a logger was told, at notice and above.
final class LogLines: Sendable {
    private let lines = Mutex<[String]>([])
    var all: [String] { lines.withLock { $0 } }

    var logger: Logger {
        Logger(label: "test") { _ in Handler(lines: self) }
    }

    private struct Handler: LogHandler {
        let lines: LogLines
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.trace
        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }
        func log(event: LogEvent) {
            if event.level >= .notice { lines.lines.withLock { $0.append("\(event.level): \(event.message)") } }
        }
    }
}

/// A poster that runs, with short times.
final class RunningPoster: Sendable {
    let log = LogLines()
    let poster: EventPoster
    private let task: Task<Void, Never>

    init(
        _ server: FakeAPIServer, tokenFile: String? = nil, authority: String? = nil,
        _ change: (inout EventPoster.Pace) -> Void = { _ in }
    ) throws {
        var pace = EventPoster.Pace()
        pace.interval = .zero
        pace.timeouts = HTTPTimeouts(connect: .seconds(20), stall: .seconds(20), total: .seconds(20))
        pace.unanswered = RetryPolicy(
            maximumAttempts: 400, maximumTime: .seconds(120), firstDelay: .milliseconds(20),
            maximumDelay: .milliseconds(200))
        pace.answered = RetryPolicy(
            maximumAttempts: 4, maximumTime: .seconds(60), firstDelay: .milliseconds(20),
            maximumDelay: .milliseconds(100))
        change(&pace)
        let address = APIServer(
            url: server.url, tokenFile: tokenFile ?? server.tokenFile,
            certificateAuthorities: authority ?? server.certificates.authority)
        let poster = try EventPoster(
            address, reporter: "csi.perssd.io", instance: "node-a", pace: pace, logger: log.logger)
        self.poster = poster
        task = Task { await poster.run() }
    }

    deinit { task.cancel() }

    func tell(_ event: VolumeEvent) { poster.sink.tell(event) }

    /// As at the end of a process.
    func end() async {
        task.cancel()
        await task.value
    }
}

/// An event with one pod, and with a claim where that is asked for.
func event(
    _ occurrence: Occurrence, volume: String = "v", pod: String? = "writer", claim: String? = nil,
    namespace: String = "default", at: Date = Date()
) -> VolumeEvent {
    VolumeEvent(
        occurrence, of: VolumeID(name: volume),
        claim: claim.map { VolumeEvent.Claim(namespace: namespace, name: $0, uid: "uid-of-\($0)") },
        pods: pod.map { [VolumeUse.Pod(namespace: namespace, name: $0, uid: "uid-of-\($0)", serviceAccount: nil)] }
            ?? [],
        at: at)
}

let committed = Occurrence.committed(.init(8, changedBytes: 1 << 20, sentBytes: 1 << 10, duration: .seconds(2)))
