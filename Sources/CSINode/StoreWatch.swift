import CSIRules
import Errors
import Foundation
import Persistence

/// Whether the bucket can be used, as far as this node has noticed, and since when not. However many ask, the store is asked
/// once in a while; and one that does not answer holds up nobody for long.
actor StoreWatch {
    private let location: String
    private let lifetime: Duration
    private let patience: Duration
    private let check: @Sendable () async throws -> Void
    private var question: (job: Job, askedAt: ContinuousClock.Instant, since: Date)?
    private var last: (at: ContinuousClock.Instant, failure: PerSSDError?)?
    private var failingSince: Date?

    /// - Parameters:
    ///   - lifetime: how long an answer counts.
    ///   - patience: how long a caller waits for one.
    ///   - check: throws where the store cannot be used.
    init(
        location: String, lifetime: Duration = .seconds(10), patience: Duration = .seconds(5),
        check: @escaping @Sendable () async throws -> Void
    ) {
        self.location = location
        self.lifetime = lifetime
        self.patience = patience
        self.check = check
    }

    /// What is wrong with the bucket, for people; nil where nothing is.
    func problem() async -> String? {
        if let last, .now - last.at < lifetime { return text }
        let (job, _, since) = question ?? ask()
        do { try await job.wait(until: .now + patience) } catch {
            // The answer itself is kept by `answered`; here it only counts whether there was one.
        }
        if job.result != nil { return text }
        return "the bucket \(location) does not answer; asked at \(since.formatted(.iso8601))"
    }

    private func ask() -> (job: Job, askedAt: ContinuousClock.Instant, since: Date) {
        let job = Job(progress: WorkProgress("asking the bucket"), work: check) { await self.answered($0) }
        let new = (job, ContinuousClock.now, Date())
        question = new
        return new
    }

    private func answered(_ result: Result<Void, PerSSDError>) {
        let since = question?.since ?? Date()
        question = nil
        switch result {
        case .success:
            failingSince = nil
            last = (.now, nil)
        case .failure(let error):
            failingSince = failingSince ?? since
            last = (.now, error)
        }
    }

    private var text: String? {
        guard let failure = last?.failure, let failingSince else { return nil }
        return "the bucket cannot be used since \(failingSince.formatted(.iso8601)) at the latest: \(failure)"
    }
}
