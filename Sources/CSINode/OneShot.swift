/// A value that comes once, from whoever is first, and that any number of tasks wait for.
final class OneShot<Value: Sendable>: Sendable {
    private let arrival: Task<Value?, Never>
    private let end: AsyncStream<Value>.Continuation

    init() {
        let (stream, end) = AsyncStream.makeStream(of: Value.self, bufferingPolicy: .bufferingOldest(1))
        self.end = end
        arrival = Task {
            for await value in stream { return value }
            return nil
        }
    }

    deinit { end.finish() }

    /// The first value counts; later ones are nothing.
    func set(_ value: Value) {
        end.yield(value)
        end.finish()
    }

    /// Waits for the value.
    ///
    /// - Parameters:
    ///   - patience: for how long at the most; nil for as long as it takes.
    ///   - late: what the value is if none has come by then.
    func value(within patience: Duration?, else late: Value) async -> Value {
        let timer = patience.map { patience in
            Task {
                if (try? await Task.sleep(for: patience)) != nil { set(late) }
            }
        }
        defer { timer?.cancel() }
        return await arrival.value ?? late
    }
}
