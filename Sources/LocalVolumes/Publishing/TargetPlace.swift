import Errors
import Glibc
import LinuxSystem
import SystemPackage

/// A target path that has been checked, with its parent directory held open: whoever exchanges parts of the path afterwards
/// does not change where a volume is published.
struct TargetPlace: ~Copyable {
    /// The path without symbolic links, as the mount table shows it.
    let path: FilePath
    private let parent: OpenFile
    private let name: FilePath

    /// - Parameter root: where targets have to lie below; nil for anywhere.
    /// - Throws: `invalidArgument` where the path has a form that no target has, or lies outside of `root`; `notFound`
    ///   where its parent does not exist; `failedPrecondition` where the parent is no directory.
    init(_ text: String, below root: FilePath?) throws {
        try Self.checkForm(text)
        let path = FilePath(text)
        guard let name = path.lastComponent else {
            throw Self.refusal(text, "it names no place below the root directory")
        }
        let parent = try Self.openParent(path.removingLastComponent(), of: text)
        let realPath = try parent.currentPath().appending(name)
        if let root {
            let realRoot = try OpenFile(place: root, followingLink: true, mustBeDirectory: true).currentPath()
            guard realPath.starts(with: realRoot), realPath != realRoot else {
                throw Self.refusal(text, "it lies at \(realPath), which is not below \(realRoot)")
            }
        }
        self.path = realPath
        self.name = FilePath(root: nil, [name])
        self.parent = parent
    }

    private static func openParent(_ parent: FilePath, of text: String) throws -> OpenFile {
        do {
            return try OpenFile(place: parent, followingLink: true, mustBeDirectory: true)
        } catch let error as PerSSDError {
            throw PerSSDError(
                error.code, "the directory of the target path '\(text)' cannot be used",
                remedy: "the caller has to make it (CSI: the parent of target_path)", cause: error)
        }
    }

    private static func checkForm(_ text: String) throws {
        guard text.utf8.first == UInt8(ascii: "/") else { throw refusal(text, "it does not begin with '/'") }
        guard text.utf8.count < 4096, !text.utf8.contains(0) else {
            throw refusal(text, "it is longer than 4095 bytes, or has a NUL in it")
        }
        for component in text.utf8.split(separator: UInt8(ascii: "/")) {
            guard !component.elementsEqual("..".utf8), !component.elementsEqual(".".utf8) else {
                throw refusal(text, "it has '.' or '..' in it")
            }
            guard component.count < 256 else { throw refusal(text, "it has a name of more than 255 bytes") }
        }
    }

    private static func refusal(_ text: String, _ reason: String) -> PerSSDError {
        PerSSDError(
            .invalidArgument, "the target path '\(text.prefix(300).filter { $0 != "\0" })' is refused: \(reason)",
            remedy: "give an absolute path in a directory that exists, without '.' and '..'")
    }

    /// What is there; nil for nothing. A symbolic link is not followed.
    func status() throws -> FileStatus? {
        try FileStatus.of(name, followingLinks: false, in: parent.descriptor)
    }

    struct Opened: ~Copyable {
        var place: OpenFile
        /// Whether it was made now.
        var isNew: Bool
    }

    /// Makes the directory or file to mount on, where there is none, and opens it.
    ///
    /// - Throws: `failedPrecondition` where something unfit is there.
    func makeAndOpen(_ kind: FileStatus.Kind) throws -> Opened {
        let found = try status()
        if let found {
            guard found.kind == kind else {
                throw PerSSDError(
                    .failedPrecondition,
                    "the target \(path) has to be \(kind.words), and is \(found.kind.words)", remedy: "remove it")
            }
            if kind == .directory, !(try DurableFile.names(in: path).isEmpty) {
                throw PerSSDError(
                    .failedPrecondition, "the target \(path) has files in it, which the volume would hide",
                    remedy: "move them away")
            }
        } else if kind == .directory {
            try systemCall("make the directory \(path)") {
                name.withPlatformString { mkdirat(parent.descriptor, $0, 0o750) }
            }
        } else {
            _ = try OpenFile(name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode: 0o640, in: parent.descriptor)
        }
        let place = try OpenFile(place: name, in: parent.descriptor, mustBeDirectory: kind == .directory)
        guard try place.status().kind == kind else {
            throw PerSSDError(.failedPrecondition, "the target \(path) was exchanged while it was made")
        }
        return Opened(place: place, isNew: found == nil)
    }

    /// Removes an empty directory or an empty file; fine where there is nothing.
    ///
    /// - Throws: `failedPrecondition` where there is anything else: PerSSD did not make it.
    func remove() throws {
        guard let found = try status() else { return }
        let isDirectory = found.kind == .directory
        guard isDirectory || found.kind == .regular && found.sizeBytes == 0 else {
            throw PerSSDError(
                .failedPrecondition,
                "the target \(path) is \(found.kind.words) that PerSSD did not make, and is left alone",
                remedy: "move it away")
        }
        do {
            try systemCall("remove the target \(path)") {
                name.withPlatformString { unlinkat(parent.descriptor, $0, isDirectory ? AT_REMOVEDIR : 0) }
            }
        } catch let error as PerSSDError where error.errno == .noSuchFileOrDirectory {
            return
        } catch let error as PerSSDError where error.errno == .directoryNotEmpty {
            throw PerSSDError(
                .failedPrecondition, "the target \(path) has files in it that are in no volume, and is left alone",
                remedy: "move them away", cause: error)
        }
    }
}

extension FileStatus.Kind {
    fileprivate var words: String {
        switch self {
        case .regular: "a file"
        case .directory: "a directory"
        case .symbolicLink: "a symbolic link"
        case .blockDevice: "a block device"
        case .other: "neither file nor directory"
        }
    }
}
