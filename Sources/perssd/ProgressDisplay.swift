import Foundation
import Persistence

/// Shows on standard error how far a transfer is while it runs: a bar where that is a terminal, else a line now and then.
enum ProgressDisplay {
    private static let barWidth = 24
    private static let terminalInterval = Duration.milliseconds(200)
    private static let plainInterval = Duration.seconds(10)

    static func during<Value: Sendable>(
        _ title: String, expectedBytes: UInt64?, isQuiet: Bool, meter: TransferMeter,
        _ work: @Sendable () async throws -> Value
    ) async throws -> Value {
        guard !isQuiet else { return try await work() }
        let isTerminal = isatty(STDERR_FILENO) == 1
        let display = Task {
            var line = ProgressLine(title: title, expectedBytes: expectedBytes)
            let start = ContinuousClock.now
            while (try? await Task.sleep(for: isTerminal ? terminalInterval : plainInterval)) != nil {
                let progress = meter.progress
                line.update(progress, at: ContinuousClock.now - start)
                if isTerminal {
                    // Back to the line's start, then erase to its end.
                    write("\r\u{1b}[K" + line.text(progress, barWidth: barWidth))
                } else {
                    write(line.text(progress) + "\n")
                }
            }
            if isTerminal { write("\r\u{1b}[K") }
        }
        let result: Result<Value, any Error>
        do {
            result = .success(try await work())
        } catch {
            result = .failure(error)
        }
        display.cancel()
        await display.value
        return try result.get()
    }

    private static func write(_ text: String) {
        try? FileHandle.standardError.write(contentsOf: Data(text.utf8))
    }
}
