import Errors
import Foundation
import Persistence

/// Knows the controllers that a node lets in: those whose certificate is in the bucket, in a record that they keep fresh.
/// Whoever can write there can do anything to the volumes anyway; whoever cannot gets nowhere here.
actor Doorkeeper {
    private let catalog: Catalog
    private let cluster: String
    /// Until when a certificate is good.
    private var admitted: [String: Date] = [:]
    private var lookup: Task<Void, any Error>?
    private var lastLookup: ContinuousClock.Instant?

    /// Between two looks into the bucket: strangers that knock must not keep the store busy.
    private static let pause = Duration.seconds(1)

    init(catalog: Catalog, cluster: String) { (self.catalog, self.cluster) = (catalog, cluster) }

    /// - Parameter certificate: as the peer has shown it, in PEM; TLS has proved that it has the key.
    /// - Throws: `permissionDenied` where it is no living controller's.
    func admit(_ certificate: [UInt8]) async throws {
        let certificate = Self.normalized(String(decoding: certificate, as: UTF8.self))
        if isGood(certificate) { return }
        try await look()
        guard isGood(certificate) else {
            throw PerSSDError(.permissionDenied, "the caller's certificate is not that of a controller of this cluster")
        }
    }

    private func isGood(_ certificate: String) -> Bool {
        !certificate.isEmpty && (admitted[certificate].map { $0 > catalog.time } ?? false)
    }

    /// One look for all who ask at the same time.
    private func look() async throws {
        if let lookup { return try await lookup.value }
        let wait = lastLookup.map { Self.pause - (.now - $0) } ?? .zero
        let task = Task { [catalog, cluster] in
            if wait > .zero { try await Task.sleep(for: wait) }
            let now = catalog.time
            let living = try await catalog.controllers(of: cluster).filter { $0.isAlive(at: now) }
            self.take(living)
        }
        lookup = task
        defer {
            lookup = nil
            lastLookup = .now
        }
        try await task.value
    }

    private func take(_ living: [ControllerRecord]) {
        admitted = Dictionary(
            living.map { (Self.normalized($0.certificate), $0.validUntil) }, uniquingKeysWith: max)
    }

    private static func normalized(_ pem: String) -> String { pem.filter { !$0.isWhitespace } }
}
