import Dispatch
import Persistence
import Synchronization

/// Reads a generation for code that cannot await; from threads that may wait only.
final class WaitingReader: Sendable {
    private struct State {
        var isCancelled = false
        var task: Task<Void, Never>?
    }

    private let reader: VolumeReader
    private let state = Mutex(State())

    init(_ reader: VolumeReader) { self.reader = reader }

    func cancel() {
        state.withLock {
            $0.isCancelled = true
            $0.task?.cancel()
        }
    }

    func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws {
        let range = offset..<offset + UInt64(buffer.count)
        let outcome = Outcome()
        let isBegun = state.withLock { state in
            guard !state.isCancelled else { return false }
            state.task = Task { [reader] in
                do {
                    outcome.set(.success(try await reader.read(range)))
                } catch {
                    outcome.set(.failure(error))
                }
            }
            return true
        }
        guard isBegun else { throw CancellationError() }
        buffer.copyBytes(from: try outcome.wait())
    }

    /// What a task hands to a thread that waits for it.
    private final class Outcome: Sendable {
        private let result = Mutex<Result<[UInt8], any Error>>(.failure(CancellationError()))
        private let isThere = DispatchSemaphore(value: 0)

        func set(_ outcome: Result<[UInt8], any Error>) {
            result.withLock { $0 = outcome }
            isThere.signal()
        }

        func wait() throws -> [UInt8] {
            isThere.wait()
            return try result.withLock { $0 }.get()
        }
    }
}
