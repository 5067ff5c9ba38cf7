import Errors
import Foundation
import Persistence

/// Where a store is, as people write it.
public enum StoreLocation: Sendable, Hashable, CustomStringConvertible {
    /// `s3://bucket/prefix`; the prefix is empty for the whole bucket.
    case s3(bucket: String, prefix: String)
    /// `file:///directory`: an absolute path on a file system that all nodes share.
    case directory(path: String)

    /// - Throws: `invalidArgument` that names the source, what is wrong and what to write.
    public init(parsing given: Given) throws {
        let text = given.text
        if text.hasPrefix("s3://") {
            let rest = text.dropFirst("s3://".count)
            let parts = rest.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
            guard let bucket = parts.first, !bucket.isEmpty else { throw Self.refused(given, "the bucket is missing") }
            if let sign = rest.first(where: { "?#@%".contains($0) }) {
                throw Self.refused(
                    given, "'\(sign)' can be part of no bucket and no prefix; endpoint and credentials are settings")
            }
            var prefix = parts.count == 2 ? String(parts[1]) : ""
            if prefix.hasSuffix("/") { prefix.removeLast() }
            self = .s3(bucket: String(bucket), prefix: prefix)
        } else if text.hasPrefix("file://") {
            var path: String
            do {
                path = try DirectoryStore.directory(ofLocation: text)
            } catch let error as PerSSDError {
                throw error.during("\(given.source) cannot be used")
            }
            while path.count > 1, path.hasSuffix("/") { path.removeLast() }
            self = .directory(path: path)
        } else {
            throw Self.refused(given, "'\(text.prefix(200))' begins with neither s3:// nor file://")
        }
    }

    public var description: String {
        switch self {
        case .s3(let bucket, let prefix): prefix.isEmpty ? "s3://\(bucket)" : "s3://\(bucket)/\(prefix)"
        case .directory(let path):
            "file://\(path.addingPercentEncoding(withAllowedCharacters: .urlPathAllowed) ?? path)"
        }
    }

    private static func refused(_ given: Given, _ reason: String) -> PerSSDError {
        PerSSDError(
            .invalidArgument, "\(given.source): \(reason)",
            remedy: "write s3://bucket/prefix or file:///absolute/directory")
    }
}
