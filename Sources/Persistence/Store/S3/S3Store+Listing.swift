import Errors
import Foundation
import HTTP

/// In what order a server lists the keys below a folder and the folders in it.
enum ListingOrder: Sendable {
    /// By their bytes, as S3 does.
    case bytes
    /// Folder by folder ("a/y" before "a-b"), as servers do that keep objects in directories (SeaweedFS).
    case folders
}

extension S3Store {
    public func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> [ObjectInfo] {
        do {
            let (start, after) = (configuration.fullPrefix + prefix, after.map { configuration.fullKey($0) })
            var items: [ListingPage.Item] = []
            if try await !walk(start, after: after, limit: limit, into: &items) {
                items = try await plainListing(start, after: after, limit: limit)
            }
            return items.compactMap { info($0) }
        } catch {
            throw during("cannot list '\(prefix)' in \(location)", error)
        }
    }

    /// What the server lists, in its own order.
    private func plainListing(_ start: String, after: String?, limit: Int) async throws -> [ListingPage.Item] {
        var items: [ListingPage.Item] = []
        try await pages(start, after: after, size: limit) { page in
            items += page.items.filter { isOurs($0) }
            return items.count < limit
        }
        return Array(items.prefix(limit))
    }

    /// Lists in the order of bytes whatever the order of the server: level by level, and a level with folders in it whole.
    ///
    /// - Returns: false, with nothing found, where there are folders and the server is one that goes by bytes: there the
    ///   plain way is right, and much cheaper.
    private func walk(
        _ start: String, after: String?, limit: Int, into found: inout [ListingPage.Item]
    ) async throws -> Bool {
        guard limit > 0 else { return true }
        guard listingOrder.withLock({ $0 }) != .bytes else { return false }
        let wanted = limit - found.count
        var level = Level()
        try await pages(start, after: levelStart(start, after: after), size: 1000, delimited: true) { page in
            for item in page.items where isOurs(item) && after.map({ precedes($0, item.key) }) ?? true {
                level.items[item.key] = item
            }
            level.folders += page.folders.filter { folder in
                after.map { precedes($0, folder) || $0.hasPrefix(folder) } ?? true
            }
            // Where there is no folder, what the server lists later is to be listed later.
            return !level.folders.isEmpty || level.items.count < wanted
        }
        if let folder = level.folders.first, try await order(shownBy: folder, in: start) == .bytes { return false }
        for name in (Array(level.items.keys) + level.folders).sorted(by: precedes) where found.count < limit {
            if let item = level.items[name] {
                found.append(item)
            } else {
                _ = try await walk(name, after: after, limit: limit, into: &found)
            }
        }
        return true
    }

    private struct Level {
        var items: [String: ListingPage.Item] = [:]
        var folders: [String] = []
    }

    /// From where to read a level, so that nothing behind `after` is left out in either order: with "a-b" the folder "a"
    /// has yet to come in the one, and is past in the other.
    private func levelStart(_ start: String, after: String?) -> String? {
        let base = start.lastIndex(of: "/").map { start[...$0] } ?? ""
        guard let after, after.hasPrefix(base) else { return nil }
        let name = after.dropFirst(base.count).prefix { $0 != "/" }
        let end = name.indices.dropFirst().first { name[$0] < "/" } ?? name.endIndex
        return String(base + name[..<end].dropLast())
    }

    /// Finds out, once, how the server orders keys: asked for what follows "a.~", where there is a folder "a/", one that
    /// goes by bytes tells the first key in it, and one that goes by folders is past it.
    private func order(shownBy folder: String, in start: String) async throws -> ListingOrder {
        if let known = listingOrder.withLock({ $0 }) { return known }
        var first: String?
        try await pages(start, after: "\(folder.dropLast()).~", size: 1) { page in
            first = page.items.first?.key
            return false
        }
        let order: ListingOrder = first?.hasPrefix(folder) == true ? .bytes : .folders
        listingOrder.withLock { $0 = order }
        return order
    }

    // MARK: - Folders

    public func listFolders(in folder: String, after: String?, limit: Int) async throws -> [String] {
        do {
            guard limit > 0 else { return [] }
            let start = configuration.fullPrefix + folder
            var names: [String] = []
            var hasMore = false
            // Not "after/": folders such as "after-1" come behind "after", but "after-1/" comes before "after/".
            try await pages(start, after: after.map { start + $0 }, size: limit, delimited: true) { page in
                names += page.folders.compactMap { name(ofFolder: $0, in: start) }
                    .filter { name in after.map { precedes($0, name) } ?? true }
                hasMore = page.continuation != nil
                return names.count < limit
            }
            if hasMore, let last = names.last {
                names += try await foldersHeldBack(by: last, in: start, after: after, known: Set(names))
            }
            return Array(names.sorted(by: precedes).prefix(limit))
        } catch {
            throw during("cannot list the folders in '\(folder)' in \(location)", error)
        }
    }

    /// The folders that belong before `last` and that the server lists behind it: "a" for "a-b", as "a-b/" comes before
    /// "a/". They can only be what `last` begins with.
    private func foldersHeldBack(
        by last: String, in start: String, after: String?, known: Set<String>
    ) async throws -> [String] {
        var names: [String] = []
        for index in last.indices.dropFirst() where last[index] < "/" {
            let name = String(last[..<index])
            guard !known.contains(name), after.map({ precedes($0, name) }) ?? true else { continue }
            try await pages("\(start)\(name)/", after: nil, size: 1) { page in
                if !page.items.isEmpty { names.append(name) }
                return false
            }
        }
        return names
    }

    private func name(ofFolder prefix: String, in start: String) -> String? {
        guard prefix.hasPrefix(start), prefix.hasSuffix("/") else { return nil }
        let name = String(prefix.dropFirst(start.count).dropLast())
        return (try? ObjectKey(name)) == nil ? nil : name
    }

    // MARK: - Pages

    /// Hands on page after page for as long as that says true and the server has more.
    private func pages(
        _ start: String, after: String?, size: Int, delimited: Bool = false,
        _ handle: (ListingPage) async throws -> Bool
    ) async throws {
        let count = String(max(1, min(1000, size)))
        var query = [("list-type", "2"), ("encoding-type", "url"), ("prefix", start), ("max-keys", count)]
        if delimited { query.append(("delimiter", "/")) }
        if let after { query.append(("start-after", after)) }
        var continuation: String?
        repeat {
            let addition = continuation.map { [("continuation-token", $0)] } ?? []
            let answer = try await client.perform(S3Request(.list, .get, query: query + addition))
            if let failure = answer.failure { throw failure.error(configuration) }
            let page = try ListingPage(answer.response.body)
            guard try await handle(page) else { return }
            if let token = page.continuation, token == continuation {
                throw PerSSDError(.unsupported, "the server's listing does not get on")
            }
            continuation = page.continuation
        } while continuation != nil
    }

    /// Keys of another form than PerSSD's are somebody else's.
    private func isOurs(_ item: ListingPage.Item) -> Bool { info(item) != nil }

    private func info(_ item: ListingPage.Item) -> ObjectInfo? {
        guard item.key.hasPrefix(configuration.fullPrefix),
            let key = try? ObjectKey(String(item.key.dropFirst(configuration.fullPrefix.count)))
        else { return nil }
        return ObjectInfo(key: key, size: item.size, etag: item.etag, modified: item.modified)
    }

    private func precedes(_ a: String, _ b: String) -> Bool { a.utf8.lexicographicallyPrecedes(b.utf8) }
}
