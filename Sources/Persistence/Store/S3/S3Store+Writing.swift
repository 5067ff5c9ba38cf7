import Errors
import Foundation
import HTTP

/// How an entity tag stands in `If-Match`.
enum TagForm: Sendable {
    /// As RFC 9110, section 8.8.3, has it.
    case quoted
    /// As some servers (Ceph's RADOS Gateway) compare it.
    case bare

    func header(_ tag: ETag) -> String {
        switch self {
        case .quoted: "\"\(tag.rawValue)\""
        case .bare: tag.rawValue
        }
    }
}

extension S3Store {
    public func write(_ key: ObjectKey, _ bytes: [UInt8], condition: WriteCondition) async throws -> ETag {
        do {
            // Not every server looks at conditions when it puts parts together, so a write with one is never split.
            if condition == .none, bytes.count > configuration.multipartThreshold {
                return try await writeInParts(key, bytes)
            }
            return try await put(key, bytes, condition)
        } catch {
            throw during("cannot write \(key) in \(location)", error)
        }
    }

    private func put(_ key: ObjectKey, _ bytes: [UInt8], _ condition: WriteCondition) async throws -> ETag {
        var request = S3Request(.write, .put, key: configuration.fullKey(key))
        request.headers["Content-Type"] = "application/octet-stream"
        request.attach(bytes[...])
        switch condition {
        case .none:
            let answer = try await client.perform(request)
            if let failure = answer.failure { throw failure.error(configuration) }
            return try await tag(of: answer.response, key)
        case .absent:
            request.headers["If-None-Match"] = "*"
            request.needsNewConnection = bytes.isEmpty
            let answer = try await client.perform(request)
            if let tag = try await judge(answer, key, bytes) { return tag }
            throw PerSSDError(.conflict, "the object exists already")
        case .matches(let expected):
            request.needsNewConnection = bytes.isEmpty
            return try await replace(key, bytes, expected, request)
        }
    }

    /// Writes over the version that `expected` names. What form of the tag the server takes is learnt here: where it says
    /// that the quoted form does not match, although the version is current, the bare one may.
    private func replace(
        _ key: ObjectKey, _ bytes: [UInt8], _ expected: ETag, _ request: S3Request
    ) async throws -> ETag {
        let known = tagForm.withLock { $0 }
        var request = request
        for form in known.map({ [$0] }) ?? [.quoted, .bare] {
            if form == .bare, known == nil {
                guard try await info(key)?.etag == expected else { break }
            }
            request.headers["If-Match"] = form.header(expected)
            let answer = try await client.perform(request)
            if let tag = try await judge(answer, key, bytes) {
                if answer.failure == nil { tagForm.withLock { $0 = $0 ?? form } }
                return tag
            }
        }
        throw PerSSDError(.conflict, "the object is no longer the version \(expected)")
    }

    /// - Returns: the tag of what was written; nil where the condition did not hold.
    private func judge(_ answer: S3Client.Answer, _ key: ObjectKey, _ bytes: [UInt8]) async throws -> ETag? {
        guard let failure = answer.failure else { return try await tag(of: answer.response, key) }
        // There being no object is one more way for "If-Match" not to hold.
        guard failure.isConditionNotHeld || failure.isMissingObject else { throw failure.error(configuration) }
        // The first attempt may have succeeded unheard, and then it is our own write that stands in the way.
        guard answer.mayBeSecond, let stored = try await read(key), stored.bytes == bytes else { return nil }
        return stored.etag
    }

    /// The tag is in the answer of every server known; the standard would allow leaving it out.
    private func tag(of response: HTTPResponse, _ key: ObjectKey) async throws -> ETag {
        if let tag = response.headers["ETag"].flatMap(ETag.init(header:)) { return tag }
        guard let info = try await info(key) else {
            throw PerSSDError(.unavailable, "the object is gone right after it was written")
        }
        return info.etag
    }
}
