/// How often and for how long a request is tried again: exponential backoff with full jitter, so that many nodes whose
/// server came back do not ask all at once.
public struct RetryPolicy: Sendable, Hashable {
    /// The first attempt included.
    public var maximumAttempts: Int
    /// No new attempt begins later than this after the first one began.
    public var maximumTime: Duration
    /// The longest wait before the second attempt; it doubles with each further one.
    public var firstDelay: Duration
    public var maximumDelay: Duration

    public init(
        maximumAttempts: Int = 8, maximumTime: Duration = .seconds(120), firstDelay: Duration = .milliseconds(100),
        maximumDelay: Duration = .seconds(10)
    ) {
        (self.maximumAttempts, self.maximumTime) = (maximumAttempts, maximumTime)
        (self.firstDelay, self.maximumDelay) = (firstDelay, maximumDelay)
    }

    /// How long to wait before the next attempt.
    ///
    /// - Parameters:
    ///   - failures: how many attempts have failed, at least 1.
    ///   - elapsed: since the first attempt began.
    ///   - demanded: what the server asked for (`Retry-After`); never waited for less than this.
    ///   - jitter: 0 to 1, drawn anew for each wait.
    /// - Returns: nil where it is time to give up.
    public func delay(
        afterFailures failures: Int, elapsed: Duration, demanded: Duration?, jitter: Double
    ) -> Duration? {
        guard failures < maximumAttempts else { return nil }
        // Beyond 2^20 every sensible bound is reached; without one the product would overflow.
        let bound = min(maximumDelay, firstDelay * (1 << min(failures - 1, 20)))
        let delay = max(bound * jitter, demanded ?? .zero)
        return elapsed + delay <= maximumTime ? delay : nil
    }
}
