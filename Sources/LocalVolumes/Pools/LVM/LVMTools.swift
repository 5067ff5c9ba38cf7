import Commands
import Errors
import Glibc
import LinuxSystem

/// The LVM and thin-provisioning tools, called for one machine and with settings of ours, so that what `lvm.conf` says there
/// changes nothing.
struct LVMTools: Sendable {
    /// JSON reports, `--config` and thin pools are as this code knows them from here on.
    static let oldestVersion = "2.03.11"

    private let runner: any CommandRunner
    private let hasUdev: Bool

    /// - Parameter hasUdev: whether udev makes device nodes, and is waited for; found out by its control socket.
    init(runner: any CommandRunner, hasUdev: Bool? = nil) throws {
        self.runner = runner
        self.hasUdev = try hasUdev ?? (FileStatus.of("/run/udev/control") != nil)
    }

    /// Devices are looked for in /dev itself: a container has no devices file, and not always udev's database. Nothing is
    /// extended or watched behind the pool's back, and nothing is written to /etc/lvm.
    var configuration: String {
        let udev = hasUdev ? 1 : 0
        return
            "devices{use_devicesfile=0 obtain_device_list_from_udev=0 external_device_info_source=\"none\"} "
            + "activation{udev_sync=\(udev) udev_rules=\(udev) monitoring=0 thin_pool_autoextend_threshold=100} "
            + "global{use_lvmpolld=0 use_lvmlockd=0 event_activation=0} backup{backup=0 archive=0}"
    }

    private var environment: [String: String] {
        var environment = ["LVM_SUPPRESS_FD_WARNINGS": "1"]
        if !hasUdev { environment["DM_DISABLE_UDEV"] = "1" }
        return environment
    }

    /// Runs one of LVM's commands, such as `lvcreate`.
    ///
    /// - Throws: `failedPrecondition` where something is in use or needs repair, `poolMissing` where the kernel lacks what is
    ///   needed, `resourceExhausted` where the volume group
    ///   is full, `internal` else; the command's words are in the cause.
    @discardableResult
    func lvm(_ command: String, _ arguments: [String]) async throws -> CommandResult {
        // LVM has no short timeout of its own; a drive that hangs must not hold the pool for ever.
        try await run("lvm", [command, "--config", configuration] + arguments, timeout: .seconds(300))
    }

    /// - Parameter accepted: the exit codes to accept; a report of what is not there ends with 5.
    func report(_ command: String, _ fields: String, _ arguments: [String], accepted: Set<Int32> = [0]) async throws
        -> CommandResult
    {
        let options = ["--reportformat", "json", "--units", "b", "--nosuffix", "-o", fields]
        return try await run(
            "lvm", [command, "--config", configuration] + options + arguments, timeout: .seconds(300),
            accepted: accepted)
    }

    @discardableResult
    func run(
        _ program: String, _ arguments: [String], timeout: Duration = .seconds(600), outputLimit: Int = 4 << 20,
        accepted: Set<Int32> = [0]
    ) async throws -> CommandResult {
        do {
            return try await runner.run(
                Command(
                    program, arguments, environment: environment, timeout: timeout, outputLimit: outputLimit,
                    acceptedExitCodes: accepted))
        } catch let error as PerSSDError {
            throw Self.explained(error)
        }
    }

    /// What LVM says where the kernel has no device-mapper, or not the kind of device that is asked for.
    private static let kernelLacks = [
        "/dev/mapper/control", "not found in kernel", "not detected in your kernel", "missing from kernel",
        "unknown target type",
    ]

    /// Gives the failure of a command the code and the remedy that its words call for.
    static func explained(_ error: PerSSDError) -> PerSSDError {
        guard let failure = error.commandFailure else { return error }
        let words = String(decoding: failure.standardError, as: UTF8.self)
        let what = "\(failure.program) \(failure.arguments.first ?? "") failed"
        if words.contains("in use") || words.contains("is used by another device")
            || words.contains("Device or resource busy")
        {
            return PerSSDError(
                .failedPrecondition, what, remedy: "let what uses it end: unmount it, or close it", cause: failure)
        }
        // Where the first bytes of the metadata are zeros, the kernel takes them for new, and the count of changes is off.
        if words.contains("anual repair required") || words.contains("needs_check") || words.contains("Check of pool")
            || words.contains("transaction_id is")
        {
            return PerSSDError(.failedPrecondition, what, remedy: repairRemedy, cause: failure)
        }
        if words.contains("while PVs are missing") {
            return PerSSDError(
                .unavailable, what,
                remedy: "bring the missing drive back, or, of a pool with the layout raid1, \(giveUpRemedy)",
                cause: failure)
        }
        if words.contains("nsufficient free space") || words.contains("nsufficient suitable allocatable extents") {
            return PerSSDError(.resourceExhausted, what, remedy: "give the volume group more drives", cause: failure)
        }
        if kernelLacks.contains(where: { words.contains($0) }) {
            return PerSSDError(
                .poolMissing, what,
                remedy: "load the kernel's modules: modprobe -a dm-mod dm-thin-pool (and dm-raid for raid1)",
                cause: failure)
        }
        return PerSSDError(error.code, what, remedy: error.remedy, cause: failure)
    }

    /// Takes what was missing out of mirrors, and nothing else. In a group of two drives, lvconvert --repair finds no room to
    /// begin with that.
    static let giveUpRemedy = "give it up with vgreduce --removemissing --mirrorsonly --force"

    static let repairRemedy =
        "stop the node plugin, save what can be read, and repair the pool by hand with lvconvert --repair; see "
        + "lvmthin(7). PerSSD repairs no pool by itself"

    // MARK: Versions

    /// - Throws: `poolMissing` where a tool is missing, `unsupported` where LVM is too old.
    func check() async throws {
        do {
            try await checkTools()
        } catch let error as PerSSDError where error.code == .failedPrecondition {
            // Nothing else can be wrong with the question for a version.
            throw error.during("a tool of LVM's is missing", code: .poolMissing)
        }
    }

    private func checkTools() async throws {
        let output = try await run("lvm", ["version"], timeout: .seconds(30)).outputText
        guard let version = Self.version(output) else {
            throw PerSSDError(
                .unsupported, "lvm version says '\(output.prefix(100))', which is no version",
                remedy: "install lvm2 \(Self.oldestVersion) or later")
        }
        guard !Self.isOlder(version, than: Self.oldestVersion) else {
            throw PerSSDError(
                .unsupported,
                "the LVM tools are of version \(version), and \(Self.oldestVersion) is the oldest that is known",
                remedy: "install lvm2 \(Self.oldestVersion) or later")
        }
        for tool in ["thin_check", "thin_delta", "thin_dump"] {
            try await run(tool, ["-V"], timeout: .seconds(30))
        }
        try await run("dmsetup", ["--version"], timeout: .seconds(30), accepted: [0, 1])
    }

    /// From "  LVM version:     2.03.16(2) (2022-05-18)".
    static func version(_ output: String) -> String? {
        for line in output.split(separator: "\n") {
            guard let range = line.range(of: "LVM version:") else { continue }
            let version = line[range.upperBound...].drop { $0 == " " }.prefix { $0.isNumber || $0 == "." }
            return version.isEmpty ? nil : String(version)
        }
        return nil
    }

    static func isOlder(_ version: String, than other: String) -> Bool {
        let numbers = version.split(separator: ".").map { Int($0) ?? 0 }
        let others = other.split(separator: ".").map { Int($0) ?? 0 }
        return numbers.lexicographicallyPrecedes(others)
    }

    // MARK: Reports

    /// Hidden ones too.
    func logicalVolumes(_ group: String) async throws -> [LogicalVolume] {
        try LVMReport.logicalVolumes(
            try await report("lvs", LogicalVolume.fields, ["-a", group]).standardOutput)
    }

    func volumeGroups() async throws -> [VolumeGroup] {
        try LVMReport.volumeGroups(try await report("vgs", VolumeGroup.fields, []).standardOutput)
    }

    func physicalVolumes() async throws -> [PhysicalVolume] {
        try LVMReport.physicalVolumes(try await report("pvs", PhysicalVolume.fields, []).standardOutput)
    }
}
