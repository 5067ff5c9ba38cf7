import Errors
import Logging
import Settings
import UnixSignals

/// Changes what a process logs while it runs: SIGHUP reads the settings again and takes up their log level; SIGUSR1 switches
/// to debug and, sent once more, back.
struct LogLevelSignals: Sendable {
    let threshold: LogThreshold
    let logger: Logger
    let options: ServiceOptions

    /// Returns once the signals are trapped; from then on, and as long as the process lives, they end it no more.
    func follow() async {
        let signals = await UnixSignalsSequence(trapping: .sighup, .sigusr1)
        Task {
            var settled = threshold.level
            for await signal in signals {
                if signal == .sighup {
                    settled = reread(settled)
                } else {
                    change(to: threshold.level > .debug ? .debug : max(settled, .info))
                }
            }
        }
    }

    /// - Returns: the level that the settings name.
    private func reread(_ old: Logger.Level) -> Logger.Level {
        do {
            // The command line and the environment are what they were, so it is the file that may say something else. What
            // else has changed there waits for the next start.
            let level = try options.settings().log.level
            change(to: level)
            return level
        } catch {
            logger.error("the settings cannot be read again, and the log level stays: \(error)")
            return old
        }
    }

    /// Says so at a level that is logged in any case.
    private func change(to level: Logger.Level) {
        threshold.level = level
        logger.log(level: max(level, .notice), "the log level is \(level)")
    }
}
