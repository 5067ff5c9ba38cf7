import Blocking
import CLinux
import Errors
import Foundation
import LinuxSystem
import SystemPackage

/// What the demo puts on its volume beside the user's data, so that every kind of thing a file system holds is there, and
/// the small change it makes later.
enum SampleTree {
    static let name = "perssd-demo"
    /// In bytes: its middle is rewritten in place by the change.
    private static let largeFileBytes = 8 << 20
    private static let rewrittenBytes = 64 << 10

    static func make(in root: String) async throws {
        try await BlockingPool.shared.run {
            let directory = "\(root)/\(name)"
            try DurableFile.makeDirectory(FilePath(directory))
            let large = try OpenFile(FilePath("\(directory)/large"), O_WRONLY | O_CREAT | O_EXCL)
            var generator = SystemRandomNumberGenerator()
            let bytes = (0..<largeFileBytes / 8).map { _ in generator.next() as UInt64 }
            try bytes.withUnsafeBytes { try large.write(at: 0, from: $0) }
            let sparse = try OpenFile(FilePath("\(directory)/sparse"), O_WRONLY | O_CREAT | O_EXCL)
            try sparse.truncate(toBytes: 64 << 20)
            try write("a file with more than one name\n", to: "\(directory)/name-one")
            try systemCall("make a hard link") { link("\(directory)/name-one", "\(directory)/name-two") }
            try systemCall("make a symbolic link") { symlink("name-one", "\(directory)/symbolic") }
            try systemCall("make a dangling link") { symlink("/nowhere/at all", "\(directory)/dangling") }
            try systemCall("make a named pipe") { mkfifo("\(directory)/pipe", 0o640) }
            try write("somebody else's\n", to: "\(directory)/owned")
            try systemCall("change an owner") { chown("\(directory)/owned", 12_345, 54_321) }
            try systemCall("change a mode") { chmod("\(directory)/owned", 0o4751) }
            try write("with attributes\n", to: "\(directory)/attributes")
            let value: [UInt8] = [0, 1, 2, 255]
            try systemCall("set an extended attribute") {
                lsetxattr("\(directory)/attributes", "user.perssd", value, value.count, 0)
            }
            try write("long ago\n", to: "\(directory)/old")
            let times = [timespec(tv_sec: 1, tv_nsec: 5), timespec(tv_sec: 86_400, tv_nsec: 123_456_789)]
            try systemCall("change a time") { utimensat(AT_FDCWD, "\(directory)/old", times, 0) }
            try DurableFile.makeDirectory(FilePath("\(directory)/empty ü\u{1F4BE}"))
        }
    }

    /// Rewrites a part of a file in place, makes one, removes one, and renames one.
    ///
    /// - Returns: how many bytes were written, for people.
    static func change(in root: String) async throws -> Int {
        try await BlockingPool.shared.run {
            let directory = "\(root)/\(name)"
            let large = try OpenFile(FilePath("\(directory)/large"), O_WRONLY)
            let bytes = (0..<rewrittenBytes).map { _ in UInt8.random(in: 0...255) }
            try bytes.withUnsafeBytes { try large.write(at: UInt64(largeFileBytes / 2), from: $0) }
            let text = "written on the second node\n"
            try write(text, to: "\(directory)/new")
            try systemCall("remove a file") { unlink("\(directory)/name-two") }
            try systemCall("rename a file") { rename("\(directory)/old", "\(directory)/older") }
            return rewrittenBytes + text.utf8.count
        }
    }

    private static func write(_ text: String, to path: String) throws {
        let file = try OpenFile(FilePath(path), O_WRONLY | O_CREAT | O_EXCL, mode: 0o644)
        try [UInt8](text.utf8).withUnsafeBytes { try file.write(at: 0, from: $0) }
    }
}
