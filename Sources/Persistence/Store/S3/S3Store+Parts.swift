import Errors
import Foundation
import HTTP
import XMLCoder

/// A part of an object as the server has it.
private struct UploadedPart: Sendable {
    let number: Int
    let tag: ETag
    /// In base64.
    let checksum: String
}

private struct InitiateResponse: Decodable {
    let uploadId: String
}

/// Empty or missing in the answer of some servers (Ceph's RADOS Gateway).
private struct CompleteResponse: Decodable {
    let eTag: String?
    let key: String
}

extension S3Store {
    /// How many parts of one object are under way at the same time.
    private static let parallelParts = 4
    /// S3's own bound.
    private static let maximumParts = 10_000

    /// Sends a long body in parts and has the server put them together ("Multipart upload" in the S3 user guide). No part
    /// of an upload that failed is left behind, as far as the server can be reached.
    func writeInParts(_ key: ObjectKey, _ bytes: [UInt8]) async throws -> ETag {
        if let tag = try await uploadOnce(key, bytes) { return tag }
        // The upload was gone when its completion was tried again, so that the first try, which brought no answer, may
        // or may not have put this object there. Doing all of it again is always right.
        if let tag = try await uploadOnce(key, bytes) { return tag }
        throw PerSSDError(.unavailable, "the server loses uploads before they are completed")
    }

    /// - Returns: nil where it is not known whether the upload was completed.
    private func uploadOnce(_ key: ObjectKey, _ bytes: [UInt8]) async throws -> ETag? {
        let upload = try await initiate(key)
        let completion: CompleteResponse?
        do {
            let parts = try await send(bytes, to: key, upload)
            completion = try await complete(key, upload, parts)
        } catch {
            // Also where this task is cancelled: the parts would be paid for until somebody finds them.
            await Task { await abort(key, upload) }.value
            throw error
        }
        guard let completion else { return nil }
        let tag = completion.eTag.flatMap(ETag.init(header:))
        guard let info = try await info(key), info.size == UInt64(bytes.count), tag == nil || tag == info.etag else {
            throw PerSSDError(.corrupt, "the server put the parts together to something else")
        }
        return info.etag
    }

    private func initiate(_ key: ObjectKey) async throws -> String {
        var request = S3Request(.multipart, .post, key: configuration.fullKey(key), query: [("uploads", "")])
        request.body = []
        request.headers["Content-Type"] = "application/octet-stream"
        request.headers["x-amz-checksum-algorithm"] = "SHA256"
        let answer = try await client.perform(request)
        if let failure = answer.failure { throw failure.error(configuration) }
        let response = try? XMLDecoder.capitalized.decode(InitiateResponse.self, from: Data(answer.response.body))
        guard let response, !response.uploadId.isEmpty else {
            throw PerSSDError(.unsupported, "the server names no upload", remedy: "raise the size for uploads in parts")
        }
        return response.uploadId
    }

    private func send(_ bytes: [UInt8], to key: ObjectKey, _ upload: String) async throws -> [UploadedPart] {
        let size = max(configuration.partSize, (bytes.count + Self.maximumParts - 1) / Self.maximumParts)
        let starts = Array(stride(from: 0, to: bytes.count, by: size))
        return try await withThrowingTaskGroup(of: UploadedPart.self) { group in
            var parts: [UploadedPart] = []
            for (index, start) in starts.enumerated() {
                if index >= Self.parallelParts, let part = try await group.next() { parts.append(part) }
                let part = bytes[start..<min(start + size, bytes.count)]
                group.addTask { try await self.send(part, number: index + 1, to: key, upload) }
            }
            for try await part in group { parts.append(part) }
            return parts.sorted { $0.number < $1.number }
        }
    }

    private func send(
        _ bytes: ArraySlice<UInt8>, number: Int, to key: ObjectKey, _ upload: String
    ) async throws -> UploadedPart {
        let query = [("partNumber", String(number)), ("uploadId", upload)]
        var request = S3Request(.write, .put, key: configuration.fullKey(key), query: query)
        request.attach(bytes)
        let answer = try await client.perform(request)
        if let failure = answer.failure { throw failure.error(configuration).during("part \(number)") }
        return UploadedPart(number: number, tag: try tag(of: answer.response), checksum: request.digest.base64)
    }

    /// - Returns: nil where the upload is gone after an attempt whose answer was lost.
    private func complete(_ key: ObjectKey, _ upload: String, _ parts: [UploadedPart]) async throws
        -> CompleteResponse?
    {
        var request = S3Request(.multipart, .post, key: configuration.fullKey(key), query: [("uploadId", upload)])
        request.attach(ArraySlice(document(of: parts).utf8))
        // That header would be taken for the checksum of the whole object.
        request.headers["x-amz-checksum-sha256"] = nil
        request.headers["Content-Type"] = "application/xml"
        let answer = try await client.perform(request)
        if let failure = answer.failure {
            if failure.code == "NoSuchUpload", answer.mayBeSecond { return nil }
            throw failure.error(configuration)
        }
        let response = try? XMLDecoder.capitalized.decode(CompleteResponse.self, from: Data(answer.response.body))
        guard let response else {
            throw PerSSDError(.unsupported, "the server answers an upload's completion with something else")
        }
        return response
    }

    private func document(of parts: [UploadedPart]) -> String {
        let elements = parts.map { part in
            let tag = part.tag.rawValue.replacing("&", with: "&amp;").replacing("<", with: "&lt;")
            return "<Part><PartNumber>\(part.number)</PartNumber><ETag>\"\(tag)\"</ETag>"
                + "<ChecksumSHA256>\(part.checksum)</ChecksumSHA256></Part>"
        }
        let space = "http://s3.amazonaws.com/doc/2006-03-01/"
        return "<CompleteMultipartUpload xmlns=\"\(space)\">\(elements.joined())</CompleteMultipartUpload>"
    }

    /// As good as it can be done: what stopped the upload may stop this too, and then the bucket's own rule for uploads
    /// that were not completed has to clear it.
    private func abort(_ key: ObjectKey, _ upload: String) async {
        let request = S3Request(
            .multipart, .delete, key: configuration.fullKey(key), query: [("uploadId", upload)])
        _ = try? await client.perform(request)
    }
}
