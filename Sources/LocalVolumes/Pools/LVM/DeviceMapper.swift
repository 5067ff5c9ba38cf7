import Errors
import Glibc
import LinuxSystem
import SystemPackage

/// Device-mapper's devices as sysfs shows them, which is true in a container, too, whatever its /dev has.
enum DeviceMapper {
    /// - Returns: nil where no device has the name.
    static func number(of name: String, sys: FilePath = "/sys") throws -> DeviceNumber? {
        let block = sys.appending("block")
        for entry in try DurableFile.names(in: block) where entry.hasPrefix("dm-") {
            let folder = block.appending(entry)
            guard try text(folder.appending("dm").appending("name")) == name else { continue }
            return try text(folder.appending("dev")).flatMap { DeviceNumber(parsing: $0) }
        }
        return nil
    }

    /// The device's node, made where /dev is not the kernel's own.
    ///
    /// - Throws: `notFound` where there is no such device.
    static func node(of name: String) throws -> FilePath {
        guard let number = try number(of: name) else {
            throw PerSSDError(
                .notFound, "device-mapper has no device '\(name)'", remedy: "look in dmesg for why it went away")
        }
        let path = FilePath("/dev/dm-\(number.minor)")
        if let status = try FileStatus.of(path) {
            guard status.kind == .blockDevice, status.deviceNumber == number else {
                throw PerSSDError(
                    .failedPrecondition, "\(path) is not the device \(number) that it is named like",
                    remedy: "let the plugin see the host's /dev")
            }
            return path
        }
        try systemCall("make the device node \(path)") {
            path.withPlatformString { mknod($0, S_IFBLK | 0o600, dev_t(number.encoded)) }
        }
        return path
    }

    /// The node below /dev/mapper, which LVM or udev makes and removes with the device.
    ///
    /// - Returns: nil where there is none.
    static func namedNode(of name: String) throws -> FilePath? {
        let path = FilePath("/dev/mapper").appending(name)
        guard let number = try number(of: name), try FileStatus.of(path)?.deviceNumber == number else { return nil }
        return path
    }

    private static func text(_ path: FilePath) throws -> String? {
        try DurableFile.read(path, limit: 8192).map { bytes in
            String(decoding: bytes.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
        }
    }
}
