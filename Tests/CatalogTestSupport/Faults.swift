import Errors
import Persistence
import Synchronization

extension MemoryStore {
    /// How a process can end at one call of the store.
    public enum Death: Sendable, CaseIterable {
        /// The call never reached the store.
        case before
        /// The call had its effect, and nobody learned of it.
        case after
    }

    /// Makes the `index`th call from now on, and every one after it, fail: the process has died there.
    ///
    /// - Returns: whether the call was ever reached.
    public func dying(at index: Int, _ death: Death, _ body: () async throws -> Void) async -> Bool {
        let count = Mutex(0)
        let injected = PerSSDError(.unavailable, "injected")
        intervene(
            before: { _ in
                let number = count.withLock { count in
                    count += 1
                    return count - 1
                }
                if number > index || number == index && death == .before { throw injected }
            },
            after: { _ in
                if count.withLock({ $0 }) > index { throw injected }
            })
        defer { intervene() }
        try? await body()
        return count.withLock { $0 } > index
    }

    /// Runs `body` once, right before the `index`th call from now on.
    ///
    /// - Returns: whether the call was ever reached.
    public func interrupting(
        at index: Int, with body: @escaping @Sendable () async throws -> Void, _ during: () async throws -> Void
    ) async rethrows -> Bool {
        let count = Mutex(0)
        intervene(before: { _ in
            let isNow = count.withLock { count in
                defer { count += 1 }
                return count == index
            }
            if isNow { try await body() }
        })
        defer { intervene() }
        try await during()
        return count.withLock { $0 } > index
    }
}
