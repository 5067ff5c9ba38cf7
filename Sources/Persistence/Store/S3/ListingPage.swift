import Errors
import Foundation
import XMLCoder

/// One answer to ListObjectsV2.
struct ListingPage {
    struct Item {
        let key: String
        let size: UInt64
        let etag: ETag
        let modified: Date
    }

    let items: [Item]
    /// With the slash at their ends.
    let folders: [String]
    /// How to ask for the next page; nil for the last one.
    let continuation: String?

    private struct Document: Decodable {
        struct Entry: Decodable {
            let Key: String
            let LastModified: String
            let ETag: String
            let Size: UInt64
        }
        struct Folder: Decodable {
            let Prefix: String
        }
        let Contents: [Entry]?
        let CommonPrefixes: [Folder]?
        let IsTruncated: Bool
        let NextContinuationToken: String?
        let EncodingType: String?
    }

    /// - Throws: `unsupported` for what is no such answer.
    init(_ body: [UInt8]) throws {
        guard let document = try? XMLDecoder().decode(Document.self, from: Data(body)) else { throw Self.notAListing }
        let isEncoded = document.EncodingType == "url"
        func text(_ text: String) throws -> String {
            guard isEncoded else { return text }
            guard let decoded = PercentEncoding.decode(text) else { throw Self.notAListing }
            return decoded
        }
        items = try (document.Contents ?? []).map { entry in
            guard let tag = Persistence.ETag(header: entry.ETag),
                let modified = ServerDates.parseInternet(entry.LastModified)
            else { throw Self.notAListing }
            return Item(key: try text(entry.Key), size: entry.Size, etag: tag, modified: modified)
        }
        folders = try (document.CommonPrefixes ?? []).map { try text($0.Prefix) }
        guard document.IsTruncated else {
            continuation = nil
            return
        }
        guard let token = document.NextContinuationToken, !token.isEmpty else { throw Self.notAListing }
        continuation = token
    }

    private static var notAListing: PerSSDError {
        PerSSDError(
            .unsupported, "the server answers with something other than a listing",
            remedy: "check that the endpoint is that of an S3 server which knows ListObjectsV2")
    }
}
