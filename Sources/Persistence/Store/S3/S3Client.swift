import Errors
import Foundation
import HTTP
import Synchronization
import Units

/// Signs requests, sends them, tries again what may be tried again, and counts.
final class S3Client: Sendable {
    let configuration: S3Configuration
    private let http: HTTPClient
    private let credentials: CredentialsCache

    private struct State {
        var statistics = StoreStatistics()
        /// The server's clock minus ours, once it refused a request for that.
        var clockDifference: TimeInterval = 0
    }
    private let state = Mutex(State())

    /// What came of a request that was answered for good.
    struct Answer: Sendable {
        var response: HTTPResponse
        /// nil where the status is one of success.
        var failure: S3Failure?
        /// Whether an earlier attempt may have done what was asked for without our hearing of it.
        var mayBeSecond: Bool
    }

    init(_ configuration: S3Configuration) throws {
        try configuration.validate()
        self.configuration = configuration
        http = try HTTPClient(
            maximumTransfers: configuration.maximumRequests,
            certificateAuthorities: configuration.certificateAuthorities)
        credentials = CredentialsCache(
            configuration.credentials.provider(http: http, region: configuration.region))
    }

    var statistics: StoreStatistics { state.withLock { $0.statistics } }

    /// What one attempt ended with, where it was not success.
    fileprivate enum Setback {
        case answer(HTTPResponse, S3Failure)
        case noAnswer(PerSSDError)
    }

    /// Sends the request until it is answered for good or the retries are used up.
    ///
    /// - Returns: success, or a failure that no retry cures (or cured in time): the caller knows which are expected.
    /// - Throws: where no answer came at all, or no credentials are to be had.
    func perform(_ request: S3Request) async throws -> Answer {
        let start = ContinuousClock.now
        var failures = 0
        var mayBeSecond = false
        var corrections = Corrections()
        while true {
            let used = try await credentials.current()
            let setback: Setback
            do {
                let response = try await send(request, with: used, isRetry: failures + corrections.count > 0)
                if (200...299).contains(response.status), !S3Failure.isHidden(in: response, of: request) {
                    return Answer(response: response, failure: nil, mayBeSecond: mayBeSecond)
                }
                setback = .answer(response, S3Failure(response))
            } catch {
                let error = PerSSDError(wrapping: error)
                guard error.code == .unavailable else { throw error }
                setback = .noAnswer(error)
            }
            switch setback {
            case .answer(let response, let failure):
                if try await correct(&corrections, failure, response, used) { continue }
                guard failure.isPassing else {
                    return Answer(response: response, failure: failure, mayBeSecond: mayBeSecond)
                }
                if failure.mayHaveHappened { mayBeSecond = true }
            case .noAnswer:
                mayBeSecond = true
            }
            failures += 1
            let elapsed = ContinuousClock.now - start
            guard
                let delay = configuration.retries.delay(
                    afterFailures: failures, elapsed: elapsed, demanded: setback.demandedDelay,
                    jitter: .random(in: 0...1))
            else { return try giveUp(setback, attempts: failures, elapsed: elapsed, mayBeSecond) }
            try await pause(delay)
        }
    }

    private func giveUp(
        _ setback: Setback, attempts: Int, elapsed: Duration, _ mayBeSecond: Bool
    ) throws -> Answer {
        let effort = "\(attempts) attempt\(attempts == 1 ? "" : "s")"
        switch setback {
        case .answer(let response, let failure):
            guard failure.error(configuration).code == .unavailable else {
                return Answer(response: response, failure: failure, mayBeSecond: mayBeSecond)
            }
            throw failure.error(configuration).during("gave up after \(effort) in \(elapsed.text)")
        case .noAnswer(let error):
            throw PerSSDError(
                .unavailable, "gave up after \(effort) in \(elapsed.text)",
                remedy: "check that \(configuration.endpoint) is up and can be reached from this node", cause: error)
        }
    }

    private func pause(_ delay: Duration) async throws {
        do {
            try await Task.sleep(for: delay)
        } catch {
            throw PerSSDError(.cancelled, "the request was cancelled between two attempts")
        }
    }

    // MARK: - One attempt

    private func send(
        _ request: S3Request, with credentials: S3Credentials, isRetry: Bool
    ) async throws -> HTTPResponse {
        let time = Date().addingTimeInterval(state.withLock { $0.clockDifference })
        let signed = request.signed(for: configuration, with: credentials, time: time)
        state.withLock {
            $0.statistics.requests[request.operation, default: 0] += 1
            if isRetry { $0.statistics.retries += 1 }
        }
        let response = try await http.send(signed)
        state.withLock {
            $0.statistics.bytesSent += UInt64(request.body?.count ?? 0)
            $0.statistics.bytesReceived += UInt64(response.body.count)
            $0.statistics.waited += response.waited
        }
        return response
    }

    /// What was put right in the course of one request; each only once, so that two mistakes cannot make a circle.
    private struct Corrections {
        var clock = false
        var credentials = false
        var count: Int { (clock ? 1 : 0) + (credentials ? 1 : 0) }
    }

    /// - Returns: whether the reason for a refusal is gone, so that the request should be sent again at once.
    private func correct(
        _ corrections: inout Corrections, _ failure: S3Failure, _ response: HTTPResponse, _ used: S3Credentials
    ) async throws -> Bool {
        if !corrections.clock, let difference = clockDifference(failure, response) {
            corrections.clock = true
            state.withLock { $0.clockDifference = difference }
            return true
        }
        if !corrections.credentials, failure.isAboutCredentials,
            try await credentials.replacement(for: used) != nil
        {
            corrections.credentials = true
            return true
        }
        return false
    }

    /// The answer to a HEAD has no code, so there a great difference alone has to tell.
    private func clockDifference(_ failure: S3Failure, _ response: HTTPResponse) -> TimeInterval? {
        guard failure.code == "RequestTimeTooSkewed" || (failure.status == 403 && failure.code.isEmpty),
            let date = response.headers["Date"].flatMap(ServerDates.parseHTTP)
        else { return nil }
        let difference = date.timeIntervalSinceNow
        return abs(difference - state.withLock { $0.clockDifference }) > 60 ? difference : nil
    }
}

extension S3Client.Setback {
    var demandedDelay: Duration? {
        guard case .answer(let response, _) = self, let text = response.headers["Retry-After"] else { return nil }
        if let seconds = Int(text), (0...86400).contains(seconds) { return .seconds(seconds) }
        return ServerDates.parseHTTP(text).map { .seconds(max(0, $0.timeIntervalSinceNow)) }
    }
}

extension S3Failure {
    fileprivate static func isHidden(in response: HTTPResponse, of request: S3Request) -> Bool {
        request.operation == .multipart && isHidden(in: response)
    }
}
