import Blocking
import Errors
import Foundation
import LinuxSystem
import Persistence
import SystemPackage

/// Which store the local copies of this node belong to: `store.json` in the state directory.
///
/// In a bucket that was emptied or made anew, or in another one, all of this node's volumes look deleted. What no generation
/// holds of them must not go for that.
struct HomeStore: Sendable {
    let file: FilePath

    private struct Stored: Codable {
        static let currentFormat = 1
        var format = Self.currentFormat
        /// As in the store's `perssd.json`.
        var id: String
    }

    /// Finds that the store is this node's, or takes it as that.
    ///
    /// - Parameter dirty: the volumes with work that is not committed. Without any, another store may take the old one's place.
    /// - Throws: `failedPrecondition` where they belong to another store.
    func settle(on store: any ObjectStore, dirty: [String]) async throws {
        let identity = try await StoreIdentity.establish(in: store)
        let known = try await id()
        guard known != identity.id else { return }
        if let known, let first = dirty.first {
            throw PerSSDError(
                .failedPrecondition,
                "\(dirty.count) of this node's local copies, \(first) for one, hold work that belongs to the store with the id "
                    + "\(known), and \(store.location) is another store, with the id \(identity.id)",
                remedy:
                    "start the node plugin with the store that it had before; or, where that work is not needed any more, "
                    + "remove \(file)")
        }
        let bytes = [UInt8](try JSONEncoder().encode(Stored(id: identity.id)))
        try await BlockingPool.shared.run { try DurableFile.write(bytes, to: file) }
    }

    /// That what is missing in the store is deleted, and not elsewhere.
    ///
    /// - Throws: `unavailable` where the store is not the one that it was when this process started.
    func requireSame(_ store: any ObjectStore) async throws {
        guard try await StoreIdentity.load(from: store)?.id != id() else { return }
        throw PerSSDError(
            .unavailable, "\(store.location) is not the store any more that it was when the node plugin started",
            remedy: "bring the store back that it was, or start the node plugin anew if another is meant")
    }

    private func id() async throws -> String? {
        guard let bytes = try await BlockingPool.shared.run({ try DurableFile.read(file) }) else { return nil }
        do {
            let stored = try JSONDecoder().decode(Stored.self, from: Data(bytes))
            guard stored.format == Stored.currentFormat else {
                throw PerSSDError(.unsupported, "\(file) has format \(stored.format), which is not known here")
            }
            return stored.id
        } catch let error as DecodingError {
            throw PerSSDError(
                .corrupt, "\(file) does not tell which store this node's volumes are in",
                remedy: "remove it where the store is the one that it was before", cause: error)
        }
    }
}
