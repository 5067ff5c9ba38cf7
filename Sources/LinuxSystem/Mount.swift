import CLinux
import Errors
import Glibc
import SystemPackage

/// Mounting and unmounting, onto places that are open, so that no name can be exchanged under it
/// (fsopen(2), open_tree(2), move_mount(2); Linux 5.12 and later).
public enum Mount {
    /// Mounts the file system of a device.
    ///
    /// - Parameter target: an open directory (`O_PATH` will do).
    /// - Throws: `invalidArgument`, naming the option, where the file system does not know one; `corrupt` where it finds
    ///   itself damaged; `failedPrecondition` where the device is in use.
    public static func fileSystem(
        _ type: String, device: FilePath, at target: borrowing OpenFile, options: MountOptions
    ) throws {
        let what = "mount the \(type) file system of \(device) at \(target.path)"
        let context = OpenFile(
            owning: try systemCall("\(what): the kernel has no \(type)") { type.withCString { clinux_fsopen($0) } },
            path: device)
        try systemCall(what) { clinux_fsconfig_string(context.descriptor, "source", device.string) }
        for parameter in options.parameters {
            do {
                try systemCall("set the mount option '\(parameter.text)' of \(type)") {
                    if let value = parameter.value {
                        clinux_fsconfig_string(context.descriptor, parameter.key, value)
                    } else {
                        clinux_fsconfig_flag(context.descriptor, parameter.key)
                    }
                }
            } catch let error as PerSSDError {
                throw PerSSDError(
                    .invalidArgument,
                    "could not \(what): \(type) refuses the mount option '\(parameter.text)'"
                        + messages(context),
                    remedy: "correct the mountOptions of the StorageClass or the PersistentVolume", cause: error)
            }
        }
        do {
            try systemCall(what) { clinux_fsconfig_create(context.descriptor) }
        } catch let error as PerSSDError {
            let list = options.parameters.map(\.text).joined(separator: ",")
            throw PerSSDError(
                error.errno == .invalidArgument ? .invalidArgument : error.code,
                "the kernel refuses to \(what) with the options '\(list)'" + messages(context),
                remedy: "look for the reason in dmesg", cause: error)
        }
        let mount = OpenFile(
            owning: try systemCall(what) {
                clinux_fsmount(context.descriptor, UInt32(truncatingIfNeeded: options.attributes))
            }, path: device)
        let place = target.descriptor
        try systemCall(what) { clinux_attach_mount(mount.descriptor, place) }
    }

    /// Shows `source`, a directory or a file, at `target` too. It appears with its options, all at once.
    ///
    /// - Parameters:
    ///   - target: an open place of the same kind.
    ///   - options: those of one mount only; the file system's own stay as they are.
    public static func bind(
        _ source: borrowing OpenFile, at target: borrowing OpenFile, options: MountOptions
    ) throws {
        let what = "bind \(source.path) to \(target.path)"
        let (from, to) = (source.descriptor, target.descriptor)
        let mount = OpenFile(owning: try systemCall(what) { clinux_clone_mount(from, "") }, path: source.path)
        if options.attributes != 0 || options.clearedAttributes != 0 {
            try systemCall("\(what) with its mount options") {
                clinux_mount_set_attributes(mount.descriptor, options.attributes, options.clearedAttributes)
            }
        }
        try systemCall(what) { clinux_attach_mount(mount.descriptor, to) }
    }

    /// Lets a file system that is mounted read-only be written, through the mount at `place` and through no other: each of
    /// its other mounts that is read-only itself stays so (fspick(2), mount_setattr(2)).
    ///
    /// - Parameter place: the root of the mount (`O_PATH` will do).
    /// - Throws: what the file system says where it cannot be written, such as `permissionDenied` on a read-only device.
    public static func makeWritable(_ place: borrowing OpenFile) throws {
        let what = "let the file system at \(place.path) be written"
        let descriptor = place.descriptor
        let context = OpenFile(owning: try systemCall(what) { clinux_fspick(descriptor) }, path: place.path)
        do {
            try systemCall(what) { clinux_fsconfig_flag(context.descriptor, "rw") }
            try systemCall(what) { clinux_fsconfig_reconfigure(context.descriptor) }
        } catch let error as PerSSDError {
            throw PerSSDError(
                error.code, "the kernel refuses to \(what)" + messages(context), remedy: "look for the reason in dmesg",
                cause: error)
        }
        try systemCall(what) {
            clinux_mount_set_attributes(descriptor, 0, UInt64(CLINUX_MOUNT_READ_ONLY.rawValue))
        }
    }

    /// Takes away what is mounted at `path`, the last one where there are several. It is gone when this returns.
    ///
    /// A use of a moment is waited for: a probe, or a child process that has not yet let go of its parent's files.
    /// - Throws: `failedPrecondition`, naming some of the processes, where it is in use.
    public static func unmount(_ path: FilePath) throws {
        let source = try? MountTable.current().top(at: path)?.source
        try unmountWhenUnused(path)
        if let source { waitUntilFree(FilePath(source)) }
    }

    private static let pauses: [useconds_t] = [5, 20, 80, 200, 400]

    private static func unmountWhenUnused(_ path: FilePath) throws {
        for milliseconds in pauses {
            do {
                return try unmountOnce(path)
            } catch let error as PerSSDError where error.errno == .resourceBusy {
                usleep(milliseconds * 1000)
            }
        }
        do {
            try unmountOnce(path)
        } catch let error as PerSSDError where error.errno == .resourceBusy {
            var device: UInt64 = 0
            let known = clinux_device_of(path.string, &device) == 0
            let holders = known ? Holders.ofFileSystem(device).joined(separator: ", ") : ""
            throw PerSSDError(
                .failedPrecondition,
                "\(path) cannot be unmounted: it is in use" + (holders.isEmpty ? "" : " by \(holders)"),
                remedy: "end what uses it, then try again", cause: error)
        }
    }

    /// Waits for a file system without a mount to let go of its device: it stays for as long as a process has what made the
    /// mount open (fsopen(2)), and a child of this one may, from its fork to its exec. What comes next (fsck, detach) wants
    /// the device for itself. Whoever keeps it longer is found there.
    private static func waitUntilFree(_ device: FilePath) {
        guard let number = try? BlockDevice.number(of: device), let entries = try? MountTable.current().entries,
            !entries.contains(where: { $0.isFileSystem(of: number) })
        else { return }
        for milliseconds in pauses {
            guard (try? BlockDevice.isHeld(device)) == true else { return }
            usleep(milliseconds * 1000)
        }
    }

    private static func unmountOnce(_ path: FilePath) throws {
        try systemCall("unmount \(path)") { path.withPlatformString { clinux_unmount($0) } }
    }

    /// What the file system said of a mount that failed: "; ext4: Unknown parameter 'x'".
    private static func messages(_ context: borrowing OpenFile) -> String {
        var text = ""
        var buffer = [UInt8](repeating: 0, count: 1024)
        // Each read gives one message, "e " for an error before it, until there is none left.
        for _ in 0..<16 {
            let count = buffer.withUnsafeMutableBytes { Glibc.read(context.descriptor, $0.baseAddress, $0.count) }
            guard count > 0 else { break }
            let message = String(decoding: buffer.prefix(count), as: UTF8.self).dropFirst(2)
            text += "; " + message.filter { $0 != "\n" }
        }
        return text
    }
}

extension MountOptions.Parameter {
    var text: String { key + (value.map { "=" + $0 } ?? "") }
}
