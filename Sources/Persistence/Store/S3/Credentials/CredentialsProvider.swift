import Errors
import Foundation

/// One way to come by credentials.
protocol CredentialsProvider: Sendable {
    /// For error messages: "environment", "shared file '/root/.aws/credentials'".
    var name: String { get }

    /// - Throws: `CredentialsNotSetUp` where nothing asks for this way; a `PerSSDError` where it was asked for and fails.
    func issue() async throws -> IssuedCredentials
}

/// A way that nobody set up: the next one may be tried.
struct CredentialsNotSetUp: Error {
    let reason: String
    init(_ reason: String) { self.reason = reason }
}

/// Credentials and how long to use them.
struct IssuedCredentials: Sendable {
    var credentials: S3Credentials
    /// When to ask for them again; nil for never.
    var renewal: Date?
    /// When the server stops taking them; nil where they last.
    var expiry: Date?

    /// From a file, which somebody may change at any time.
    static func fromFile(_ credentials: S3Credentials) -> IssuedCredentials {
        IssuedCredentials(credentials: credentials, renewal: Date(timeIntervalSinceNow: 15))
    }

    /// Temporary ones: renewed five minutes before they expire, or half-way where they last for less than ten.
    static func temporary(_ credentials: S3Credentials, expiry: Date, now: Date = Date()) -> IssuedCredentials {
        let margin = min(300, max(0, expiry.timeIntervalSince(now) / 2))
        return IssuedCredentials(
            credentials: credentials, renewal: expiry.addingTimeInterval(-margin), expiry: expiry)
    }
}

struct FixedCredentials: CredentialsProvider {
    let credentials: S3Credentials
    var name: String { "given credentials" }

    func issue() async throws -> IssuedCredentials { IssuedCredentials(credentials: credentials) }
}

/// The first of several ways that is set up. One that is set up and fails is not passed over: what comes later would
/// be somebody else's credentials.
struct CredentialsChain: CredentialsProvider {
    private let providers: [any CredentialsProvider]
    var name: String { providers.map(\.name).joined(separator: ", ") }

    init(_ providers: [any CredentialsProvider]) { self.providers = providers }

    func issue() async throws -> IssuedCredentials {
        var reasons: [String] = []
        for provider in providers {
            do {
                return try await provider.issue()
            } catch let absence as CredentialsNotSetUp {
                reasons.append("\(provider.name) (\(absence.reason))")
            }
        }
        throw CredentialsNotSetUp(reasons.joined(separator: ", "))
    }
}

/// The credentials in use: fetched once for all requests, and again before they expire.
actor CredentialsCache {
    private let provider: any CredentialsProvider
    private var issued: IssuedCredentials?
    private var running: Task<IssuedCredentials, any Error>?

    init(_ provider: any CredentialsProvider) { self.provider = provider }

    /// - Throws: `unauthenticated` where there are none; it names the ways that were tried.
    func current() async throws -> S3Credentials {
        guard let issued else { return try await renew().credentials }
        let now = Date()
        guard let renewal = issued.renewal, renewal <= now else { return issued.credentials }
        do {
            return try await renew().credentials
        } catch {
            // What we hold is good until it expires; a service that is down is asked again a little later, and not by
            // every request.
            guard let expiry = issued.expiry, expiry > now else { throw error }
            self.issued?.renewal = min(expiry, now.addingTimeInterval(10))
            return issued.credentials
        }
    }

    /// After a server refused `rejected`: others, where there are any by now.
    func replacement(for rejected: S3Credentials) async throws -> S3Credentials? {
        if let issued, issued.credentials != rejected { return issued.credentials }
        if let issued, issued.renewal == nil { return nil }
        let fresh = try await renew().credentials
        return fresh == rejected ? nil : fresh
    }

    /// However many requests wait for it, the provider is asked once; none of them being cancelled stops it.
    private func renew() async throws -> IssuedCredentials {
        if let running { return try await running.value }
        let provider = provider
        let task = Task { try await provider.issue() }
        running = task
        defer { running = nil }
        do {
            let fresh = try await task.value
            issued = fresh
            return fresh
        } catch let absence as CredentialsNotSetUp {
            throw PerSSDError(
                .unauthenticated, "there are no credentials for S3: tried \(provider.name): \(absence.reason)",
                remedy: "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or one of the other ways")
        } catch {
            let error = PerSSDError(wrapping: error)
            throw error.during(
                "cannot get credentials for S3 from \(provider.name)",
                code: error.code == .unavailable ? .unavailable : .unauthenticated)
        }
    }
}
