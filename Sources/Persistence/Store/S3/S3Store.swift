import Digests
import Errors
import Foundation
import HTTP
import Synchronization

/// A store in an S3 bucket.
///
/// Every request is signed, sent with the SHA-256 of its body, and tried again where that may help; see `RetryPolicy`.
public final class S3Store: ObjectStore {
    let client: S3Client
    /// How the server wants an entity tag in `If-Match`; nil until a write showed it.
    let tagForm = Mutex<TagForm?>(nil)
    /// How the server orders a listing; nil until one showed it.
    let listingOrder = Mutex<ListingOrder?>(nil)

    /// - Throws: `invalidArgument` for settings that cannot be, `failedPrecondition` where the file of certificate
    ///   authorities cannot be read.
    public init(_ configuration: S3Configuration) throws { client = try S3Client(configuration) }

    var configuration: S3Configuration { client.configuration }

    public var location: String { configuration.location }

    /// All requests up to now; a repetition counts like a first attempt.
    public var statistics: StoreStatistics { client.statistics }

    /// Asks for the bucket itself: some servers take a write into a bucket that does not exist.
    public func check() async throws {
        let query = [("list-type", "2"), ("max-keys", "1"), ("prefix", configuration.fullPrefix)]
        do {
            let answer = try await client.perform(S3Request(.check, .get, query: query))
            if let failure = answer.failure { throw failure.error(configuration) }
            _ = try ListingPage(answer.response.body)
        } catch {
            throw during("cannot use \(location)", error)
        }
    }

    public func read(_ key: ObjectKey) async throws -> StoredObject? {
        do {
            var request = S3Request(.read, .get, key: configuration.fullKey(key))
            request.headers["x-amz-checksum-mode"] = "ENABLED"
            request.maximumResponseBytes = configuration.maximumObjectSize
            let answer = try await client.perform(request)
            if let failure = answer.failure {
                if failure.isMissingObject { return nil }
                throw failure.error(configuration)
            }
            try verifyChecksum(answer.response)
            return StoredObject(bytes: answer.response.body, etag: try tag(of: answer.response))
        } catch {
            throw during("cannot read \(key) in \(location)", error)
        }
    }

    public func read(_ key: ObjectKey, range: Range<UInt64>) async throws -> [UInt8]? {
        do {
            guard !range.isEmpty else { return try await readNothing(key, at: range.lowerBound) }
            guard range.count <= configuration.maximumObjectSize else {
                throw PerSSDError(.outOfRange, "\(range.count) bytes are more than one request may read")
            }
            var request = S3Request(.readRange, .get, key: configuration.fullKey(key))
            request.headers["Range"] = "bytes=\(range.lowerBound)-\(range.upperBound - 1)"
            // Room for an error's document where the range is short.
            request.maximumResponseBytes = max(range.count, 64 << 10)
            let answer = try await client.perform(request)
            if let failure = answer.failure {
                if failure.isMissingObject { return nil }
                guard failure.status == 416 else { throw failure.error(configuration) }
                throw PerSSDError(.corrupt, "bytes \(range) are past its end")
            }
            return try RangeResponse(answer.response).bytes(for: range)
        } catch {
            throw during("cannot read bytes \(range) of \(key) in \(location)", error)
        }
    }

    /// HTTP has no empty ranges.
    private func readNothing(_ key: ObjectKey, at offset: UInt64) async throws -> [UInt8]? {
        guard let info = try await info(key) else { return nil }
        guard offset <= info.size else { throw PerSSDError(.corrupt, "it is \(info.size) bytes long") }
        return []
    }

    public func info(_ key: ObjectKey) async throws -> ObjectInfo? {
        do {
            let answer = try await client.perform(S3Request(.info, .head, key: configuration.fullKey(key)))
            if let failure = answer.failure {
                // The answer to a HEAD does not say why: a missing bucket must not pass for a missing object, and the
                // reason of a refusal has to be heard.
                try await check()
                if failure.status == 404 { return nil }
                throw failure.error(configuration)
            }
            let headers = answer.response.headers
            guard let length = headers["Content-Length"], let size = UInt64(length),
                let modified = headers["Last-Modified"].flatMap(ServerDates.parseHTTP)
            else { throw PerSSDError(.unsupported, "the server tells neither length nor time of the object") }
            return ObjectInfo(key: key, size: size, etag: try tag(of: answer.response), modified: modified)
        } catch {
            throw during("cannot ask about \(key) in \(location)", error)
        }
    }

    public func remove(_ key: ObjectKey) async throws {
        do {
            let answer = try await client.perform(S3Request(.remove, .delete, key: configuration.fullKey(key)))
            if let failure = answer.failure, !failure.isMissingObject { throw failure.error(configuration) }
        } catch {
            throw during("cannot remove \(key) in \(location)", error)
        }
    }

    // MARK: - Common to all

    func during(_ action: String, _ error: any Error) -> PerSSDError { PerSSDError(wrapping: error, during: action) }

    func tag(of response: HTTPResponse) throws -> ETag {
        guard let text = response.headers["ETag"], let tag = ETag(header: text) else {
            throw PerSSDError(.unsupported, "the server names no entity tag", remedy: "use a server that does")
        }
        return tag
    }

    /// Where the server tells the object's own SHA-256 (not that of its parts' digests, "...-3"), what came has to match.
    private func verifyChecksum(_ response: HTTPResponse) throws {
        guard let expected = response.headers["x-amz-checksum-sha256"], !expected.contains("-") else { return }
        guard SHA256.digest(response.body).base64 == expected else {
            throw PerSSDError(.corrupt, "its bytes do not have the SHA-256 that the server names")
        }
    }
}

extension S3Configuration {
    /// The store's prefix with a slash behind it, or nothing.
    var fullPrefix: String { prefix.isEmpty ? "" : "\(prefix)/" }

    func fullKey(_ key: ObjectKey) -> String { fullPrefix + key.path }
}

extension ETag {
    /// As it stands in a header or a listing: with or without quotes, which are not kept.
    init?(header text: String) {
        let bare =
            text.hasPrefix("\"") && text.hasSuffix("\"") && text.count >= 2 ? text.dropFirst().dropLast() : text[...]
        guard !bare.isEmpty, !bare.contains("\"") else { return nil }
        self.init(String(bare))
    }
}
