import CLinux
import Glibc
import SystemPackage

/// Names the processes that hold a device or a file system, for messages; as /proc shows it, without waiting for servers.
public enum Holders {
    private static let limit = 5

    /// Those that have the device itself open.
    public static func ofDevice(_ number: DeviceNumber) -> [String] {
        processes { path in
            var status = stat()
            // A block device's node is no file of a server on the network, so this cannot hang; anything else is let be.
            guard target(of: path)?.hasPrefix("/dev/") == true, stat(path, &status) == 0 else { return false }
            return status.st_mode & S_IFMT == S_IFBLK && DeviceNumber(UInt64(status.st_rdev)) == number
        }
    }

    /// Those that have files open, or work, on the file system that has this device number in stat(2).
    public static func ofFileSystem(_ device: UInt64) -> [String] {
        processes { path in
            var found: UInt64 = 0
            return clinux_device_of(path, &found) == 0 && found == device
        }
    }

    /// Up to `limit` processes, as "sleep (pid 123)", one of whose open files or directories fulfils `holds`.
    private static func processes(where holds: (String) -> Bool) -> [String] {
        var holders: [String] = []
        for name in (try? DurableFile.names(in: "/proc")) ?? [] {
            guard let pid = Int32(name) else { continue }
            let process = "/proc/\(pid)"
            let files = ((try? DurableFile.names(in: FilePath("\(process)/fd"))) ?? []).map { "\(process)/fd/\($0)" }
            guard ([process + "/cwd", process + "/root", process + "/exe"] + files).contains(where: holds) else {
                continue
            }
            let command = (try? DurableFile.read(FilePath("\(process)/comm"))).flatMap { $0 } ?? []
            let text = String(decoding: command.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
            holders.append("\(text) (pid \(pid))")
            if holders.count == limit { break }
        }
        return holders
    }

    private static func target(of path: String) -> String? {
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = buffer.withUnsafeMutableBytes { bytes in
            readlink(path, bytes.bindMemory(to: CChar.self).baseAddress!, bytes.count)
        }
        return count < 0 ? nil : String(decoding: buffer.prefix(count), as: UTF8.self)
    }
}
