import Errors
import Glibc

/// An entry of a folder.
struct FolderEntry {
    var name: String
    /// nil where the file system does not say (readdir(3), DT_UNKNOWN).
    var kind: FileKind?
}

/// All entries of a folder but "." and "..", in no order.
func entries(of folder: borrowing Descriptor, _ path: @autoclosure () -> String) throws -> [FolderEntry] {
    // A description of its own: readdir moves its offset.
    let number = uninterrupted { openat(folder.number, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
    guard number >= 0 else {
        // It has been removed meanwhile.
        if errno == ENOENT { return [] }
        throw fileError(errno, "cannot list \(path())")
    }
    guard let stream = fdopendir(number) else {
        let failure = errno
        close(number)
        throw fileError(failure, "cannot list \(path())")
    }
    defer { closedir(stream) }
    var result: [FolderEntry] = []
    while true {
        errno = 0
        guard let entry = readdir(stream) else {
            if errno != 0 && errno != ENOENT { throw fileError(errno, "cannot list \(path())") }
            return result
        }
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
            $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        guard name != ".", name != ".." else { continue }
        let kind: FileKind? =
            switch Int(entry.pointee.d_type) {
            case Int(DT_UNKNOWN): nil
            case Int(DT_REG): .file
            case Int(DT_DIR): .folder
            case Int(DT_LNK): .symbolicLink
            default: .other
            }
        result.append(FolderEntry(name: name, kind: kind))
    }
}

extension DirectoryFiles {
    /// The keys that begin with `prefix`, in byte order, from the first after `after`.
    ///
    /// It opens only folders that can hold such keys. What PerSSD does not make is passed over: links, devices, and names
    /// that are no key's, such as the ".nfs..." of files that were removed while open.
    func keys(prefix: String, after: ObjectKey?, limit: Int) throws -> [ObjectKey] {
        let (folderPath, beginning) = try split(prefix)
        var found: [ObjectKey] = []
        guard limit > 0, let folder = try openFolder(folderPath) else { return [] }
        try collect(
            in: folder, path: folderPath.map { "\($0)/" } ?? "", beginning: beginning, after: after?.path, limit: limit,
            into: &found)
        return found
    }

    /// The names of the folders in `folder` that hold at least one object.
    func folderNames(in folder: String, after: String?, limit: Int) throws -> [String] {
        let (folderPath, beginning) = try split(folder)
        guard beginning.isEmpty else {
            throw PerSSDError(.invalidArgument, "'\(folder.prefix(200))' is no folder: it has to end with a slash")
        }
        guard limit > 0, let descriptor = try openFolder(folderPath) else { return [] }
        let path = folderPath.map { "\($0)/" } ?? ""
        var found: [String] = []
        for child in try sortedChildren(of: descriptor, path: path) where child.isFolder {
            if let after, !isBefore(after, child.name) { continue }
            guard let inner = try openFolder(child.name, in: descriptor, path: path + child.name) else { continue }
            if try holdsObject(inner, path: path + child.name + "/") { found.append(child.name) }
            if found.count == limit { break }
        }
        return found
    }

    private struct Child {
        var name: String
        var isFolder: Bool
        /// What keys are sorted by: a folder's slash counts.
        var order: String { isFolder ? name + "/" : name }
    }

    private func collect(
        in folder: borrowing Descriptor, path: String, beginning: String, after: String?, limit: Int,
        into found: inout [ObjectKey]
    ) throws {
        for child in try sortedChildren(of: folder, path: path) where child.name.hasPrefix(beginning) {
            guard found.count < limit else { return }
            let full = path + child.order
            if child.isFolder {
                // Every key in it is `full` and more.
                if let after, !after.hasPrefix(full), isBefore(full, after) { continue }
                guard let inner = try openFolder(child.name, in: folder, path: full) else { continue }
                try collect(in: inner, path: full, beginning: "", after: after, limit: limit, into: &found)
            } else {
                if let after, !isBefore(after, full) { continue }
                guard let key = try? ObjectKey(full) else { continue }
                found.append(key)
            }
        }
    }

    private func holdsObject(_ folder: borrowing Descriptor, path: String) throws -> Bool {
        let children = try sortedChildren(of: folder, path: path)
        if children.contains(where: { !$0.isFolder }) { return true }
        for child in children {
            guard let inner = try openFolder(child.name, in: folder, path: path + child.name) else { continue }
            if try holdsObject(inner, path: path + child.name + "/") { return true }
        }
        return false
    }

    private func sortedChildren(of folder: borrowing Descriptor, path: String) throws -> [Child] {
        var children: [Child] = []
        for entry in try entries(of: folder, "\(root.path)/\(path)") {
            // Also what is hidden, the store's own folder included.
            guard !entry.name.hasPrefix("."), (try? ObjectKey(entry.name)) != nil else { continue }
            let kind =
                try entry.kind
                ?? status(of: entry.name, in: folder, "\(root.path)/\(path)\(entry.name)").map { FileKind($0.st_mode) }
            switch kind {
            case .file: children.append(Child(name: entry.name, isFolder: false))
            case .folder: children.append(Child(name: entry.name, isFolder: true))
            default: continue
            }
        }
        return children.sorted { isBefore($0.order, $1.order) }
    }

    /// A prefix as the folder it lies in and the beginning of a name there.
    private func split(_ prefix: String) throws -> (folder: String?, beginning: String) {
        guard let slash = prefix.lastIndex(of: "/") else { return (nil, prefix) }
        let folder = String(prefix[..<slash])
        try validate(try ObjectKey(folder))
        return (folder, String(prefix[prefix.index(after: slash)...]))
    }

    private func isBefore(_ a: String, _ b: String) -> Bool { a.utf8.lexicographicallyPrecedes(b.utf8) }
}
