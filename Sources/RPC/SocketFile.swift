import Errors
import Glibc
import Synchronization

/// A Unix socket's file, from the claim on its path until its removal.
///
/// gRPC binds the socket in a private directory beside the path, and it is linked to the path when it serves. So the path
/// always leads to a server that answers, nobody can connect before the permissions are set, and of two processes that
/// start at the same time one is refused. All functions block for short.
final class SocketFile: Sendable {
    private struct Identity: Equatable {
        let device: UInt64
        let inode: UInt64
    }

    let path: String
    private let directory: String
    /// Which file at the path is ours, once it is there.
    private let published = Mutex<Identity?>(nil)

    /// Where gRPC is to bind.
    var temporaryPath: String { directory + "/s" }

    private init(path: String, directory: String) { (self.path, self.directory) = (path, directory) }

    /// Looks at what is at the path, and makes the private directory.
    static func prepare(_ path: String) throws(PerSSDError) -> SocketFile {
        guard let slash = path.lastIndex(of: "/") else {
            throw PerSSDError(.invalidArgument, "the socket path \(path) is not absolute")
        }
        let parent = String(path[..<slash])
        // The name in the private directory, "/.XXXXXX/s", may be longer than the one it is for.
        let longest = max(path.utf8.count, parent.utf8.count + 10)
        guard longest <= RPCAddress.maximumPathLength else {
            throw PerSSDError(
                .invalidArgument,
                "the socket path \(path) is too long: the directory's part may have "
                    + "\(RPCAddress.maximumPathLength - 10) bytes, all of it \(RPCAddress.maximumPathLength)",
                remedy: "choose a shorter path")
        }
        if !parent.isEmpty, mkdir(parent, 0o750) != 0, errno != EEXIST {
            throw failure(
                "cannot make the directory of the socket \(path)", errno,
                remedy: "make \(parent), or choose another path")
        }
        if try probe(path) == .live { throw isLive(path) }
        var template = Array("\(parent)/.XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw failure("cannot make a directory beside the socket \(path)", errno)
        }
        let directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return SocketFile(path: path, directory: directory)
    }

    /// Gives the socket that gRPC bound its permissions and its place.
    func publish(mode: UInt32) throws(PerSSDError) {
        guard chmod(temporaryPath, mode) == 0 else {
            throw Self.failure("cannot set the permissions of the socket \(path)", errno)
        }
        guard let identity = Self.identity(of: temporaryPath) else {
            throw Self.failure("cannot look at the socket made for \(path)", errno)
        }
        // Ends soon: only somebody who keeps making dead sockets at the path could make it go on.
        for _ in 0..<100 {
            if link(temporaryPath, path) == 0 {
                published.withLock { $0 = identity }
                removeDirectory()
                return
            }
            guard errno == EEXIST else { throw Self.failure("cannot put the socket at \(path)", errno) }
            try removeStale()
        }
        throw PerSSDError(.conflict, "somebody keeps making sockets at \(path)", remedy: "stop the other server")
    }

    /// Removes the socket, where it is still ours, and the private directory.
    func remove() {
        let identity = published.withLock { identity in
            defer { identity = nil }
            return identity
        }
        if let identity, Self.identity(of: path) == identity { unlink(path) }
        removeDirectory()
    }

    /// Moves a dead socket away before removing it, so that a live one that came in between is put back.
    private func removeStale() throws(PerSSDError) {
        switch try Self.probe(path) {
        case .nothing: return
        case .live: throw Self.isLive(path)
        case .stale: break
        }
        let aside = directory + "/o"
        guard rename(path, aside) == 0 else {
            if errno == ENOENT { return }
            throw Self.failure("cannot remove the dead socket \(path)", errno)
        }
        if try Self.probe(aside) == .live {
            // Where this fails a third has put its socket there, and the loser of the two has lost anyway.
            _ = link(aside, path)
            unlink(aside)
            throw Self.isLive(path)
        }
        unlink(aside)
    }

    private func removeDirectory() {
        unlink(temporaryPath)
        unlink(directory + "/o")
        rmdir(directory)
    }

    // MARK: What is at a path

    private enum Finding { case nothing, stale, live }

    /// Tells a dead socket from a live one by connecting to it.
    ///
    /// - Throws: alreadyExists where something else than a socket is there.
    private static func probe(_ path: String) throws(PerSSDError) -> Finding {
        var status = stat()
        guard lstat(path, &status) == 0 else {
            if errno == ENOENT { return .nothing }
            throw failure("cannot look at \(path)", errno)
        }
        guard status.st_mode & S_IFMT == S_IFSOCK else {
            throw PerSSDError(
                .alreadyExists, "cannot put a socket at \(path): something that is not a socket is there",
                remedy: "remove it, or choose another path")
        }
        let descriptor = socket(
            AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw failure("cannot make a socket", errno) }
        defer { close(descriptor) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        let error = errno
        // EAGAIN: the queue of a server that is too busy to answer is full.
        if result == 0 || error == EAGAIN || error == EINPROGRESS || error == EINTR { return .live }
        switch error {
        case ECONNREFUSED: return .stale
        case ENOENT: return .nothing
        case EPROTOTYPE: return .live
        default: throw failure("cannot find out whether the socket \(path) is alive", error)
        }
    }

    private static func identity(of path: String) -> Identity? {
        var status = stat()
        guard lstat(path, &status) == 0 else { return nil }
        return Identity(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
    }

    // MARK: Errors

    private static func isLive(_ path: String) -> PerSSDError {
        PerSSDError(
            .alreadyExists, "a server listens on the socket \(path)",
            remedy: "stop it first, or choose another path")
    }

    private static func failure(_ what: String, _ error: Int32, remedy: String? = nil) -> PerSSDError {
        let code: PerSSDError.Code =
            switch error {
            case EACCES, EPERM, EROFS: .permissionDenied
            case ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG: .invalidArgument
            case ENOSPC, EDQUOT, EMFILE, ENFILE: .resourceExhausted
            default: .internal
            }
        return PerSSDError(code, "\(what): \(String(cString: strerror(error)))", remedy: remedy)
    }
}
