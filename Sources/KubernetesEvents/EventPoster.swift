import Errors
import HTTP
import Logging
import Metering
import Synchronization
import Units
import VolumeEvents

/// Posts events to the API server, one after the other, beside all other work. What it is told waits in a short queue; where that
/// is full, progress is left out first.
///
/// Without the right to post, without a token or without the API it is off: it says so once, and looks at every `Pace.rest` with
/// one event whether that has changed.
public final class EventPoster: Sendable {
    /// How often, how long and how patiently.
    public struct Pace: Sendable {
        /// The least between two events of which the second brings the first up to date.
        public var interval = Duration.seconds(55)
        /// What waits at the most.
        public var queueLimit = 256
        /// How long it is off before it is looked whether that has to be.
        public var rest = Duration.seconds(600)
        /// For what still waits at the end of the process.
        public var flush = Duration.seconds(3)
        public var timeouts = HTTPTimeouts(connect: .seconds(5), stall: .seconds(10), total: .seconds(15))
        /// While no answer comes. An API server is away for a minute or two when it is upgraded.
        public var unanswered = RetryPolicy(
            maximumAttempts: 20, maximumTime: .seconds(300), firstDelay: .milliseconds(500), maximumDelay: .seconds(30))
        /// While the server answers that it cannot now. Others wait behind this one.
        public var answered = RetryPolicy(
            maximumAttempts: 5, maximumTime: .seconds(60), firstDelay: .milliseconds(500), maximumDelay: .seconds(10))

        public init() {}
    }

    /// What becomes of an event, as it is counted.
    public enum Outcome: String, Sendable, CaseIterable {
        case posted
        /// There was no room for it, or posting is off.
        case dropped
        /// The server would not have it, or could not be reached for long.
        case failed
    }

    private let client: APIClient
    private let reporter: String
    private let instance: String
    private let pace: Pace
    private let logger: Logger
    private let state: Mutex<State>
    private let wakes: AsyncStream<Void>
    private let wake: AsyncStream<Void>.Continuation

    fileprivate struct State {
        var queue: NoticeQueue
        var series = PostedSeries()
        /// When the last one of a series was told.
        var told: [Notice.Series: ContinuousClock.Instant] = [:]
        var offUntil: ContinuousClock.Instant?
        /// Set from the word in the log that something is wrong until the word that it is well again.
        var isTroubled = false
    }

    /// - Parameters:
    ///   - reporter: the driver's name.
    ///   - instance: which of its processes posts.
    /// - Throws: `failedPrecondition` where the file of authorities cannot be read.
    public init(
        _ server: APIServer, reporter: String, instance: String, pace: Pace = Pace(), logger: Logger
    ) throws {
        client = try APIClient(server, timeouts: pace.timeouts)
        (self.reporter, self.instance, self.pace, self.logger) = (reporter, instance, pace, logger)
        state = Mutex(State(queue: NoticeQueue(limit: pace.queueLimit)))
        (wakes, wake) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    public var sink: EventSink { EventSink { [self] in take($0) } }

    /// Posts what it is told until the task is cancelled, and then, within a bound, what still waits.
    public func run() async {
        for await _ in wakes { await postAll() }
        let rest = Task { await postAll() }
        let timer = Task { [flush = pace.flush] in
            try await Task.sleep(for: flush)
            rest.cancel()
        }
        await rest.value
        timer.cancel()
        count(.dropped, state.withLock { $0.queue.clear() })
    }

    // MARK: What is told

    private func take(_ event: VolumeEvent) {
        let now = ContinuousClock.now
        let dropped = state.withLock { state in
            let notices = Notice.all(of: event).filter { state.isDue($0, at: now, every: pace.interval) }
            if let offUntil = state.offUntil, now < offUntil { return notices.count }
            return notices.count { state.queue.add($0) != nil }
        }
        count(.dropped, dropped)
        wake.yield()
    }

    private func count(_ outcome: Outcome, _ number: Int = 1) {
        if number > 0 { Instruments.events.add(UInt64(number), outcome.rawValue) }
    }

    // MARK: Posting

    private func postAll() async {
        while !Task.isCancelled, let notice = state.withLock({ $0.queue.next() }) {
            do {
                if let outcome = try await post(notice) { count(outcome) }
            } catch {
                // The process ends, and there is one more try.
                state.withLock { _ = $0.queue.add(notice) }
            }
        }
    }

    /// - Throws: `CancellationError`.
    private func post(_ notice: Notice) async throws -> Outcome? {
        let start = ContinuousClock.now
        // The same for each try, so that one that was made without our hearing of it is found.
        let name = EventObject.name(for: notice.object.name)
        var failures = 0
        while true {
            let (policy, demanded, error): (RetryPolicy, Duration?, PerSSDError)
            do {
                let (answer, isChange) = try await attempt(notice, name)
                switch answer.meaning(isChange: isChange) {
                case .done, .exists:
                    isWell()
                    return .posted
                case .gone:
                    // After an hour the server forgets.
                    state.withLock { $0.series.forget(notice.series) }
                    continue
                case .refused:
                    logger.debug("the API server does not take an event: \(answer.error(client.server))")
                    return .failed
                case .forbidden:
                    return switchOff(answer.error(client.server))
                case .unknownCaller, .busy:
                    (policy, demanded, error) = (pace.answered, answer.demandedDelay, answer.error(client.server))
                }
            } catch let failure as PerSSDError where failure.code == .unavailable {
                (policy, demanded, error) = (pace.unanswered, nil, failure)
            } catch {
                try Task.checkCancellation()
                return switchOff(PerSSDError(wrapping: error))
            }
            try Task.checkCancellation()
            failures += 1
            guard
                let pause = policy.delay(
                    afterFailures: failures, elapsed: .now - start, demanded: demanded, jitter: .random(in: 0.5...1))
            else {
                if error.code == .unauthenticated { return switchOff(error) }
                complain("events cannot be posted now, and some are lost: \(error)")
                return .failed
            }
            try await Task.sleep(for: pause)
        }
    }

    /// Makes the event, or brings the one before up to date.
    private func attempt(_ notice: Notice, _ name: String) async throws -> (answer: APIAnswer, isChange: Bool) {
        let events = "/api/v1/namespaces/\(notice.object.namespace)/events"
        let known = notice.reason.isRepeated ? state.withLock { $0.series.posted(notice.series, at: .now) } : nil
        let answer: APIAnswer
        if let known {
            let change = EventChange(
                message: notice.note, lastTimestamp: EventObject.text(notice.at), count: known.count + 1)
            answer = try await client.send(
                .patch, "\(events)/\(known.name)", try JSON.encoded(change), contentType: "application/merge-patch+json"
            )
        } else {
            let event = EventObject(notice, named: name, by: reporter, instance)
            answer = try await client.send(.post, events, try JSON.encoded(event), contentType: "application/json")
        }
        if notice.reason.isRepeated, [.done, .exists].contains(answer.meaning(isChange: known != nil)) {
            let posted = PostedSeries.Posted(name: known?.name ?? name, count: (known?.count ?? 0) + 1)
            state.withLock { $0.series.note(posted, of: notice.series, at: .now) }
        }
        return (answer, known != nil)
    }

    // MARK: How it goes

    private func isWell() {
        let wasTroubled = state.withLock { state in
            defer { (state.isTroubled, state.offUntil) = (false, nil) }
            return state.isTroubled
        }
        if wasTroubled { logger.notice("events are posted again") }
    }

    private func switchOff(_ error: PerSSDError) -> Outcome {
        count(
            .dropped,
            state.withLock { state in
                state.offUntil = .now + pace.rest
                return state.queue.clear()
            })
        complain("no events are posted to pods and claims: \(error)")
        return .dropped
    }

    /// Once, until all is well again.
    private func complain(_ text: String) {
        let isNews = state.withLock { state in
            defer { state.isTroubled = true }
            return !state.isTroubled
        }
        if isNews { logger.warning("\(text)", metadata: ["server": "\(client.server.url)"]) }
    }
}

extension EventPoster.State {
    /// Whether it is not too soon after the last one of its series.
    fileprivate mutating func isDue(
        _ notice: Notice, at now: ContinuousClock.Instant, every interval: Duration
    ) -> Bool {
        guard notice.reason.isRepeated else { return true }
        if let last = told[notice.series], now - last < interval { return false }
        // What is older than the interval decides nothing.
        if told.count >= 1024 { told = told.filter { now - $0.value < interval } }
        told[notice.series] = now
        return true
    }
}

extension APIAnswer {
    /// What the server said, and what to do about it.
    fileprivate func error(_ server: APIServer) -> PerSSDError {
        let words = failure.message.map { ": \($0.prefix(500))" } ?? ""
        let text = "\(server.url) answers \(status)\(words)"
        return switch status {
        case 401:
            PerSSDError(.unauthenticated, text, remedy: "check the token in \(server.tokenFile)")
        case 403:
            PerSSDError(
                .permissionDenied, text,
                remedy: "let the service account create and patch events, or switch them off with --events off")
        default: PerSSDError(.unavailable, text)
        }
    }
}
