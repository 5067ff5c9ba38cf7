import Blocking
import CSINode
import Errors
import Foundation
import LinuxSystem
import Logging
import NodeControl
import ServiceLifecycle
import SystemPackage

/// Brings the node's volumes to the bucket when the process is told to end, for as long as it is given, and says what was and what
/// was not saved. Meanwhile the process serves as ever.
struct TerminationFlush: Service {
    var plugin: NodePlugin
    /// Zero for no flush.
    var limit: Duration
    /// Gets the result, where it is there.
    var file: String
    var logger: Logger

    /// What Kubernetes shows of a container's last words.
    private static let longestMessage = 4096

    func run() async throws {
        // Ends in an error where the process is cancelled instead: then there is no time.
        guard (try? await gracefulShutdown()) != nil, limit > .zero else { return }
        var last: FlushReport?
        for await report in await plugin.flush(until: .now + limit) { last = report }
        guard let last else { return }
        do {
            try await tell(last)
        } catch {
            logger.warning("what the flush has saved cannot be written to \(file): \(error)")
        }
    }

    private func tell(_ report: FlushReport) async throws {
        let path = FilePath(file)
        let text = Self.text(report)
        try await BlockingPool.shared.run {
            guard try FileStatus.of(path)?.kind == .regular else { return }
            let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: path.string))
            defer { try? handle.close() }
            try handle.truncate(atOffset: 0)
            try handle.write(contentsOf: Data(text.utf8))
        }
    }

    /// What was not saved comes first, as the end may be cut off.
    static func text(_ report: FlushReport) -> String {
        var text = report.summary + "\n"
        for isSafe in [false, true] {
            for volume in report.volumes where volume.outcome.isSafe == isSafe { text += volume.text + "\n" }
        }
        guard text.utf8.count > longestMessage else { return text }
        let end = "...\n"
        return String(decoding: Array(text.utf8.prefix(longestMessage - end.utf8.count)), as: UTF8.self) + end
    }
}
