import Errors
import UnixSignals

/// Runs `work`, and cancels it at SIGINT or SIGTERM, so that it can clean up behind it.
///
/// - Throws: `cancelled` where it was interrupted.
func untilInterrupted(_ work: @escaping @Sendable () async throws -> Void) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { try await work() }
        group.addTask {
            for await signal in await UnixSignalsSequence(trapping: .sigint, .sigterm) {
                throw PerSSDError(.cancelled, "interrupted by \(signal)")
            }
        }
        defer { group.cancelAll() }
        do {
            try await group.next()
        } catch let error as PerSSDError where error.code == .cancelled {
            group.cancelAll()
            // What the work says once it is cancelled is no news; that it has ended is.
            while let result = await group.nextResult() { _ = result }
            throw error
        }
    }
}
