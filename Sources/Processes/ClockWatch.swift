import Errors
import Foundation
import Logging
import Persistence
import Units

/// Compares this machine's clock with the store's now and then, and says when they come to differ.
struct ClockWatch: Sendable {
    let clock: StoreClock
    let store: any ObjectStore
    let logger: Logger

    private static let pause = Duration.seconds(600)

    /// Looks once, at the start of a process.
    func look() async throws {
        try await clock.compare(with: store)
        tell()
    }

    /// Looks until the task is cancelled.
    func run() async {
        while (try? await Task.sleep(for: Self.pause)) != nil {
            do {
                try await look()
            } catch {
                logger.debug("the store's clock cannot be looked at: \(error)")
            }
        }
    }

    private func tell() {
        let difference = clock.difference
        guard abs(difference) > StoreClock.tolerance else { return }
        // The store tells whole seconds.
        let about = abs(difference) < 600 ? abs(difference) : (abs(difference) / 60).rounded() * 60
        logger.error(
            """
            this machine's clock is \(Duration.seconds(about).text) \(difference > 0 ? "ahead of" : "behind") \
            that of the store \(store.location): records get the store's time. Set this machine's clock right, and keep it \
            so with NTP
            """)
    }
}
