import Digests
import Errors
import Foundation

/// `perssd.json`: what a store says of itself. Whoever comes first makes it, and nobody changes it.
public struct StoreIdentity: Record, Equatable {
    static let format = "perssd-store"
    static let currentVersion = 1

    /// 32 random hexadecimal digits. It stays the same for every cluster and by whatever address the store is reached.
    public let id: String
    public let createdAt: Date

    static var key: ObjectKey { get throws { try ObjectKey("perssd.json") } }

    /// Reads the store's identity, and makes it where there is none. One request, or three the first time.
    ///
    /// - Throws: `unsupported` where a later version of PerSSD made the store, `corrupt` where the object is damaged; the
    ///   store's own errors.
    public static func establish(in store: any ObjectStore) async throws -> StoreIdentity {
        do {
            if let existing = try await load(from: store) { return existing }
            // As the JSON has it: whole seconds.
            let now = Date(timeIntervalSince1970: Date().timeIntervalSince1970.rounded(.down))
            let made = StoreIdentity(id: randomBytes(16).hex, createdAt: now)
            do {
                _ = try await store.write(key, try made.encoded(), condition: .absent)
                return made
            } catch let error as PerSSDError where error.code == .conflict {
                guard let existing = try await load(from: store) else {
                    throw PerSSDError(
                        .unavailable, "another process made \(try key), and it is gone again", cause: error)
                }
                return existing
            }
        } catch {
            throw PerSSDError(wrapping: error, during: "cannot tell the identity of \(store.location)")
        }
    }

    /// The store's identity; nil where it has none.
    ///
    /// - Throws: as `establish`.
    public static func load(from store: any ObjectStore) async throws -> StoreIdentity? {
        guard let object = try await store.read(key) else { return nil }
        let identity = try StoreIdentity(decoding: object.bytes, from: key)
        guard [UInt8](hex: identity.id)?.count == 16 else {
            throw PerSSDError(
                .corrupt,
                "object \(try key) has the id '\(identity.id.prefix(100))', which is not 32 hexadecimal digits",
                remedy: "restore the object from a backup or an older version of it")
        }
        return identity
    }
}
