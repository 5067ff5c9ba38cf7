import Errors
import Foundation
import HTTP

/// In what order a server lists keys below a common folder.
enum ListingOrder: Sendable {
    /// By their bytes, as S3 does.
    case bytes
    /// Folder by folder ("a/y" before "a-b"), as servers do that keep objects in directories (SeaweedFS).
    case folders
}

extension S3Store {
    public func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> [ObjectInfo] {
        do {
            var found: [ObjectInfo] = []
            var query = listing(prefix)
            if let after { query.append(("start-after", configuration.fullKey(after))) }
            try await pages(query, size: limit) { page in
                found += page.items.compactMap { info($0) }
                return found.count < limit
            }
            return Array(found.prefix(limit))
        } catch {
            throw during("cannot list '\(prefix)' in \(location)", error)
        }
    }

    public func listFolders(in folder: String, after: String?, limit: Int) async throws -> [String] {
        do {
            var names: [String] = []
            var query = listing(folder) + [("delimiter", "/")]
            if let after { query.append(("start-after", configuration.fullPrefix + folder + after)) }
            let start = configuration.fullPrefix + folder
            try await pages(query, size: limit) { page in
                names += page.folders.compactMap {
                    $0.hasPrefix(start) ? String($0.dropFirst(start.count).dropLast()) : nil
                }
                .filter { name in after.map { $0 < name } ?? true }
                return names.count < limit
            }
            return Array(names.prefix(limit))
        } catch {
            throw during("cannot list the folders in '\(folder)' in \(location)", error)
        }
    }

    private func listing(_ prefix: String) -> [(name: String, value: String)] {
        [("list-type", "2"), ("encoding-type", "url"), ("prefix", configuration.fullPrefix + prefix)]
    }

    /// Hands on page after page for as long as `isWanted` and the server has more.
    private func pages(
        _ query: [(name: String, value: String)], size: Int, isWanted: (ListingPage) throws -> Bool
    ) async throws {
        var request = S3Request(.list, .get)
        var continuation: String?
        repeat {
            request.query = query + [("max-keys", String(max(1, min(1000, size))))]
            if let continuation { request.query.append(("continuation-token", continuation)) }
            let answer = try await client.perform(request)
            if let failure = answer.failure { throw failure.error(configuration) }
            let page = try ListingPage(answer.response.body)
            guard try isWanted(page) else { return }
            guard page.continuation != continuation || continuation == nil else {
                throw PerSSDError(.unsupported, "the server's listing does not get on")
            }
            continuation = page.continuation
        } while continuation != nil
    }

    /// nil for what is not PerSSD's: keys of another form.
    private func info(_ item: ListingPage.Item) -> ObjectInfo? {
        guard item.key.hasPrefix(configuration.fullPrefix),
            let key = try? ObjectKey(String(item.key.dropFirst(configuration.fullPrefix.count)))
        else { return nil }
        return ObjectInfo(key: key, size: item.size, etag: item.etag, modified: item.modified)
    }
}
