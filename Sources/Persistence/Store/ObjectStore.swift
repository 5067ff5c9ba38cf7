import Errors
import Foundation

/// Where volumes live: an S3 bucket, or a directory that all nodes share. Everything above knows only this.
///
/// All methods throw `PerSSDError`. Codes that every store uses alike: `conflict` (a condition did not hold), `unavailable`
/// (worth a retry later; the store has retried already), `unauthenticated`, `permissionDenied`, `resourceExhausted` (full),
/// `storeMissing` (the bucket or directory itself is missing), `corrupt` (bytes arrived that are not what the store sent).
public protocol ObjectStore: Sendable {
    /// For people and logs, without secrets: "s3://bucket/prefix at http://host:8333", "file:///shared/directory".
    var location: String { get }

    /// The whole object; nil where there is none.
    func read(_ key: ObjectKey) async throws -> StoredObject?

    /// `range` of the object; nil where there is no such object. A range that reaches past its end is `corrupt`: whoever
    /// asks knows from a record how long the object has to be.
    func read(_ key: ObjectKey, range: Range<UInt64>) async throws -> [UInt8]?

    /// What is known of an object without its bytes; nil where there is none.
    func info(_ key: ObjectKey) async throws -> ObjectInfo?

    /// Writes the object whole. It is durable, and seen by every reader, when this returns.
    ///
    /// A write whose answer was lost is tried again; where it is conditional and the second try finds the condition no
    /// longer true, the store looks whether the object holds exactly `bytes` before it says `conflict`.
    /// - Returns: the tag to name this version by in a later condition.
    /// - Throws: `conflict` where `condition` does not hold; the object is then as it was.
    func write(_ key: ObjectKey, _ bytes: [UInt8], condition: WriteCondition) async throws -> ETag

    /// Removes the object; fine where there is none.
    func remove(_ key: ObjectKey) async throws

    /// The objects whose keys begin with `prefix`, in ascending byte order of their keys, from the first after `after`.
    ///
    /// - Parameter prefix: a whole folder ("volumes/", with the slash) or the beginning of a name in one ("volumes/ab").
    func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> [ObjectInfo]

    /// The names of the folders right below `folder` ("volumes/"), ascending, from the first after `after`. One whose last
    /// object has gone may still be among them for a while.
    func listFolders(in folder: String, after: String?, limit: Int) async throws -> [String]

    /// One cheap request that fails, with the reason, where the store cannot be used.
    func check() async throws

    /// What has been asked of the store's server since it was opened; nothing where that is not counted.
    var statistics: StoreStatistics { get }
}

/// The name of an object below the store's prefix: segments of `A-Z a-z 0-9 - _ .`, joined by slashes.
public struct ObjectKey: Hashable, Sendable, Comparable, CustomStringConvertible {
    public let path: String

    /// - Throws: `invalidArgument` where a segment is empty, "." or "..", has another character, or all is over 900 bytes.
    public init(_ path: String) throws {
        let segments = path.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        let valid = segments.allSatisfy { segment in
            !segment.isEmpty && !segment.elementsEqual(".".utf8) && !segment.elementsEqual("..".utf8)
                && segment.allSatisfy(Self.isAllowed)
        }
        guard valid, path.utf8.count <= 900 else {
            throw PerSSDError(.invalidArgument, "'\(path.prefix(200))' cannot name an object")
        }
        self.path = path
    }

    private static func isAllowed(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
            true
        default: false
        }
    }

    public static func < (a: ObjectKey, b: ObjectKey) -> Bool {
        a.path.utf8.lexicographicallyPrecedes(b.path.utf8)
    }

    public var description: String { path }
}

/// Names one version of an object's contents, as the store that made it likes; compared only with its like.
public struct ETag: Hashable, Sendable, Codable, CustomStringConvertible {
    public let rawValue: String
    public init(_ rawValue: String) { self.rawValue = rawValue }
    public var description: String { rawValue }
}

/// What has to be true of an object for a write to happen (RFC 9110, section 13.1).
public enum WriteCondition: Sendable, Hashable {
    case none
    /// There is no such object: `If-None-Match: *`.
    case absent
    /// The object is still the version that this tag names: `If-Match`.
    case matches(ETag)
}

public struct ObjectInfo: Sendable, Hashable {
    public var key: ObjectKey
    public var size: UInt64
    public var etag: ETag
    /// By the store's clock.
    public var modified: Date

    public init(key: ObjectKey, size: UInt64, etag: ETag, modified: Date) {
        (self.key, self.size, self.etag, self.modified) = (key, size, etag, modified)
    }
}

public struct StoredObject: Sendable {
    public var bytes: [UInt8]
    public var etag: ETag

    public init(bytes: [UInt8], etag: ETag) { (self.bytes, self.etag) = (bytes, etag) }
}

extension ObjectStore {
    public var statistics: StoreStatistics { StoreStatistics() }
}
