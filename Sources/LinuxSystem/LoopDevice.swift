import CLinux
import Errors
import Glibc
import SystemPackage

/// A loop device that has a file behind it (loop(4)).
///
/// Devices are attached without the autoclear flag: they outlive the process, as the mounts on them have to, and the next
/// one finds them by `all()`.
public struct LoopDevice: Sendable, Equatable {
    public var number: Int
    /// The file behind it, by its device and inode.
    public var backingDevice: UInt64
    public var backingInode: UInt64
    /// As the kernel names it: without the " (deleted)" of a file that is gone, and cut where it is very long.
    ///
    /// It begins at the mount through which the file was opened. Where that was in a container that has ended, it lacks the path
    /// to that mount: "/pool/image" in place of "/var/lib/perssd/pool/image".
    public var backingPath: FilePath
    /// As whoever attached it named it; cut at 63 bytes, and never changed.
    public var givenName: String
    public var isBackingDeleted: Bool
    public var isReadOnly: Bool
    public var isDirect: Bool
    /// Whether all of the file, from its first byte, is the device.
    public var isWhole: Bool

    public var path: FilePath { Self.path(number) }

    private static func path(_ number: Int) -> FilePath { FilePath("/dev/loop\(number)") }
    private static func sysfs(_ number: Int) -> FilePath { FilePath("/sys/block/loop\(number)") }

    // MARK: Finding

    /// Every loop device that has a file behind it; but for those whose file is on a file system that has failed, of which the
    /// kernel does not say which file that is. Somebody else's must not keep this node from its own.
    public static func all() throws -> [LoopDevice] {
        try DurableFile.names(in: "/sys/block").compactMap { name in
            guard name.hasPrefix("loop"), let number = Int(name.dropFirst(4)) else { return nil }
            do {
                return try attached(number)
            } catch let error as PerSSDError where error.errno == .ioError {
                return nil
            }
        }
    }

    /// The device as it is now; nil where it has no file behind it.
    public static func attached(_ number: Int) throws -> LoopDevice? {
        guard var name = try backingName(number) else { return nil }
        var status = clinux_loop_status()
        do {
            let device = try open(number, O_RDONLY)
            try systemCall("ask for the state of \(path(number))") {
                clinux_loop_get_status(device.descriptor, &status)
            }
        } catch let error as PerSSDError where error.errno == .noSuchAddressOrDevice {
            return nil  // It was detached meanwhile.
        }
        let deleted = " (deleted)"
        let isDeleted = name.hasSuffix(deleted)
        if isDeleted { name.removeLast(deleted.count) }
        return LoopDevice(
            number: number, backingDevice: status.backing_device, backingInode: status.backing_inode,
            backingPath: FilePath(name), givenName: Self.givenName(status), isBackingDeleted: isDeleted,
            isReadOnly: status.flags & CLINUX_LOOP_READ_ONLY.rawValue != 0,
            isDirect: status.flags & CLINUX_LOOP_DIRECT_IO.rawValue != 0,
            isWhole: status.offset == 0 && status.size_limit == 0)
    }

    private static func givenName(_ status: clinux_loop_status) -> String {
        withUnsafeBytes(of: status.name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }

    /// What sysfs says lies behind it, which is known without opening the device.
    private static func backingName(_ number: Int) throws -> String? {
        do {
            guard let bytes = try DurableFile.read(sysfs(number).appending("loop/backing_file")) else { return nil }
            let text = String(decoding: bytes, as: UTF8.self)
            return text.hasSuffix("\n") ? String(text.dropLast()) : text
        } catch let error as PerSSDError where error.errno == .noSuchAddressOrDevice || error.errno == .noDevice {
            return nil
        }
    }

    // MARK: Attaching

    /// Puts a loop device before `file`, with direct I/O where its file system has that.
    public static func attach(_ file: FilePath, readOnly: Bool = false) throws -> LoopDevice {
        let control = try openControl(for: file)
        let backing = try OpenFile(file, (readOnly ? O_RDONLY : O_RDWR) | O_NOFOLLOW)
        // Others may take a free device between two calls; each try looks for a new one.
        for _ in 0..<256 {
            let number = Int(
                try systemCall("get a free loop device") { clinux_loop_get_free(control.descriptor) })
            do {
                try configure(number, backing, readOnly: readOnly)
            } catch let error as PerSSDError
                where error.errno == .resourceBusy || error.errno == .noSuchAddressOrDevice || error.errno == .noDevice
            {
                continue
            }
            guard let device = try attached(number) else {
                throw PerSSDError(.unavailable, "\(path(number)) was detached from \(file) by somebody else")
            }
            return device
        }
        throw PerSSDError(.unavailable, "other programs took each loop device that was free for \(file)")
    }

    private static func openControl(for file: FilePath) throws -> OpenFile {
        do {
            return try OpenFile("/dev/loop-control", O_RDWR)
        } catch let error as PerSSDError {
            throw PerSSDError(
                error.code, "could not get a loop device for \(file)",
                remedy: "load the kernel module 'loop', and give the container the host's /dev", cause: error)
        }
    }

    private static func configure(_ number: Int, _ backing: borrowing OpenFile, readOnly: Bool) throws {
        let device = try open(number, readOnly ? O_RDONLY : O_RDWR)
        let access = readOnly ? CLINUX_LOOP_READ_ONLY.rawValue : 0
        let name = backing.path.string
        let descriptor = backing.descriptor
        do {
            try systemCall("put \(path(number)) before \(name)") {
                clinux_loop_configure(device.descriptor, descriptor, access | CLINUX_LOOP_DIRECT_IO.rawValue, name)
            }
        } catch let error as PerSSDError where error.errno == .invalidArgument {
            // Some kernels refuse direct I/O where the file system lacks it, others fall back by themselves.
            try systemCall("put \(path(number)) before \(name)") {
                clinux_loop_configure(device.descriptor, descriptor, access, name)
            }
        }
    }

    /// Opens the device; makes its node where /dev has none, as in a container with a /dev of its own.
    private static func open(_ number: Int, _ flags: Int32) throws -> OpenFile {
        let path = path(number)
        do {
            return try OpenFile(path, flags)
        } catch let error as PerSSDError where error.errno == .noSuchFileOrDirectory {
            let text = try DurableFile.read(sysfs(number).appending("dev")).map { String(decoding: $0, as: UTF8.self) }
            guard let device = text.flatMap({ DeviceNumber(parsing: $0.prefix { $0 != "\n" }) }) else { throw error }
            do {
                try systemCall("make the device node \(path)") {
                    path.withPlatformString { mknod($0, S_IFBLK | 0o600, dev_t(device.encoded)) }
                }
            } catch let error as PerSSDError where error.errno == .fileExists {
                // Somebody else, udev for one, was faster.
            }
            return try OpenFile(path, flags)
        }
    }

    // MARK: Changing

    /// Takes over a size that the file has grown to.
    public func takeOverSize() throws {
        let device = try OpenFile(path, O_RDONLY)
        try systemCall("set the size of \(path)") { clinux_loop_set_capacity(device.descriptor) }
    }

    /// Takes the device from its file.
    ///
    /// - Throws: `failedPrecondition` where it is mounted or open; it stays as it was.
    public func detach() throws {
        guard try current() != nil else { return }
        // The kernel puts a detach off, and says nothing, while others have the device open (udev's probes, for some
        // milliseconds). A mount is found at once, what else has it open shows by the device staying for long.
        if try BlockDevice.isHeld(path) { throw inUse("it is mounted") }
        let flushed = try OpenFile(path, O_RDONLY)
        try flushed.sync()
        do {
            try systemCall("detach \(path)") { clinux_loop_clear(flushed.descriptor) }
        } catch let error as PerSSDError where error.errno == .noSuchAddressOrDevice {
            return
        }
        _ = consume flushed
        for milliseconds in [0, 1, 4, 20, 100, 200, 400, 800] {
            usleep(useconds_t(milliseconds) * 1000)
            if try current() == nil { return }
        }
        let device = try OpenFile(path, O_RDONLY)
        do {
            try systemCall("keep \(path)") { clinux_loop_stay(device.descriptor) }
        } catch let error as PerSSDError where error.errno == .noSuchAddressOrDevice {
            return  // The last one closed it just now.
        }
        throw inUse("it is open")
    }

    /// The device as it is now; nil where it does not stand before this file any more.
    ///
    /// By the file and not by its name, which changes when a container ends that the file was opened in.
    public func current() throws -> LoopDevice? {
        guard let now = try Self.attached(number), now.backingInode == backingInode,
            now.backingDevice == backingDevice
        else { return nil }
        return now
    }

    private func inUse(_ reason: String) -> PerSSDError {
        let holders = ((try? BlockDevice.number(of: path)).map { Holders.ofDevice($0) } ?? []).joined(separator: ", ")
        return PerSSDError(
            .failedPrecondition,
            "\(path), the device of \(backingPath), cannot be detached: \(reason)"
                + (holders.isEmpty ? "" : ", by \(holders)"),
            remedy: "unmount it, in other mount namespaces too, and end what has it open")
    }
}
