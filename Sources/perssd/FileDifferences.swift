import Ext4
import Persistence
import Synchronization
import Units

/// Which files of two generations differ, as `--json` shows it. Keys stay; new ones may come.
struct FileDifferences: Encodable, Sendable {
    struct File: Encodable, Sendable {
        var path: String
        /// "added", "removed", "changed" or "attributes".
        var change: String
        var kind: String
        /// null where there was none, or is none any more.
        var oldSizeBytes: UInt64?
        var sizeBytes: UInt64?
    }

    private(set) var added = 0
    private(set) var removed = 0
    private(set) var changed = 0
    private(set) var attributes = 0
    /// In the order of their paths; the first of them, where there are more than the limit.
    private(set) var list: [File] = []

    var count: Int { added + removed + changed + attributes }

    /// - Parameter old: nil for an empty volume.
    /// - Throws: `failedPrecondition` where one of the two holds no ext4.
    static func find(
        _ new: FoundState, since old: FoundState?, differing: [Range<UInt64>], in catalog: Catalog,
        limit: Int
    ) async throws -> FileDifferences {
        let found = Mutex(FileDifferences())
        guard !differing.isEmpty else { return found.withLock { $0 } }
        try await GenerationFiles.compare(new, since: old, differing: differing, in: catalog) { difference in
            found.withLock { $0.add(difference, limit: limit) }
        }
        return found.withLock { $0 }
    }

    private mutating func add(_ difference: Ext4Difference, limit: Int) {
        switch difference.change {
        case .added: added += 1
        case .removed: removed += 1
        case .changed: changed += 1
        case .attributes: attributes += 1
        }
        guard list.count < limit else { return }
        list.append(
            File(
                path: difference.path, change: difference.change.rawValue,
                kind: (difference.new ?? difference.old)?.kind.rawValue ?? "", oldSizeBytes: difference.old?.sizeBytes,
                sizeBytes: difference.new?.sizeBytes))
    }

    /// For people: a line for each file, with the sizes of those that have one.
    func tell() {
        guard count > 0 else { return Output.line("no file differs") }
        for file in list {
            let path = printable(file.path) + (file.kind == Ext4Entry.Kind.directory.rawValue ? "/" : "")
            Output.line("\(Self.sign(file.change)) \(path)\(Self.sizes(file))")
        }
        if count > list.count { Output.line("... and \(count - list.count) more: --limit shows them") }
        Output.line(
            "\(count == 1 ? "1 file" : "\(count) files"): \(added) added, \(removed) removed, \(changed) changed, "
                + "\(attributes) with other attributes\n")
    }

    private static func sign(_ change: String) -> String {
        switch Ext4Difference.Change(rawValue: change) {
        case .added: "+"
        case .removed: "-"
        case .changed: "*"
        case .attributes, nil: "~"
        }
    }

    private static func sizes(_ file: File) -> String {
        guard file.kind == Ext4Entry.Kind.file.rawValue else { return "" }
        switch (file.oldSizeBytes, file.sizeBytes) {
        case (let old?, let new?) where old != new: return "  \(ByteCount(old)) -> \(ByteCount(new))"
        case (let size?, _), (nil, let size?): return "  \(ByteCount(size))"
        case (nil, nil): return ""
        }
    }
}
