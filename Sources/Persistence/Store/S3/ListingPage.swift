import Errors
import Foundation
import XMLCoder

extension XMLDecoder {
    /// For S3's documents, where names begin with a capital, and for those of STS, which have a namespace besides.
    static var capitalized: XMLDecoder {
        let decoder = XMLDecoder()
        decoder.keyDecodingStrategy = .convertFromCapitalized
        decoder.shouldProcessNamespaces = true
        return decoder
    }
}

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
            let key: String
            let lastModified: String
            let eTag: String
            let size: UInt64
            var isFolder: Bool { key.hasSuffix("/") && size == 0 && eTag == "\"\"" }
        }
        struct Folder: Decodable {
            let prefix: String
        }
        let contents: [Entry]?
        let commonPrefixes: [Folder]?
        let isTruncated: Bool
        let nextContinuationToken: String?
        let encodingType: String?
    }

    /// - Throws: `unsupported` for what is no such answer.
    init(_ body: [UInt8]) throws {
        guard let document = try? XMLDecoder.capitalized.decode(Document.self, from: Data(body)) else {
            throw Self.notAListing
        }
        let isEncoded = document.encodingType == "url"
        func text(_ text: String) throws -> String {
            guard isEncoded else { return text }
            guard let decoded = PercentEncoding.decode(text) else { throw Self.notAListing }
            return decoded
        }
        // SeaweedFS lists a folder that its last object has left as an object of that name, with no tag.
        items = try (document.contents ?? []).filter { !$0.isFolder }.map { entry in
            guard let tag = ETag(header: entry.eTag),
                let modified = ServerDates.parseInternet(entry.lastModified)
            else { throw Self.notAListing }
            return Item(key: try text(entry.key), size: entry.size, etag: tag, modified: modified)
        }
        folders = try (document.commonPrefixes ?? []).map { try text($0.prefix) }
        guard document.isTruncated else {
            continuation = nil
            return
        }
        guard let token = document.nextContinuationToken, !token.isEmpty else { throw Self.notAListing }
        continuation = token
    }

    private static var notAListing: PerSSDError {
        PerSSDError(
            .unsupported, "the server answers with something other than a listing",
            remedy: "check that the endpoint is that of an S3 server which knows ListObjectsV2")
    }
}
