import Blocking
import Commands
import Errors
import Foundation
import LinuxSystem
import SystemPackage

/// Which drives a pool is to be made of. All that is given has to hold.
public struct DriveSelection: Sendable, Equatable {
    /// Paths such as `/dev/nvme0n1` or `/dev/disk/by-id/...`. These are named one by one, so one that cannot be used is an
    /// error; drives that the other criteria find and that cannot be used are passed over.
    public var paths: [String]
    /// What the drive says of itself, blanks at the ends left out.
    public var model: String?
    public var serials: [String]
    /// In bytes.
    public var minimumSize: UInt64?
    public var maximumSize: UInt64?
    public var rotational: Bool?
    /// All NVMe namespaces that carry nothing.
    public var allEmptyNVMe: Bool

    public init(
        paths: [String] = [], model: String? = nil, serials: [String] = [], minimumSize: UInt64? = nil,
        maximumSize: UInt64? = nil, rotational: Bool? = nil, allEmptyNVMe: Bool = false
    ) {
        self.paths = paths
        self.model = model
        self.serials = serials
        self.minimumSize = minimumSize
        self.maximumSize = maximumSize
        self.rotational = rotational
        self.allEmptyNVMe = allEmptyNVMe
    }

    var isEmpty: Bool { self == DriveSelection() }

    /// Whether the drive is meant, its path aside.
    func matches(_ drive: Drive) -> Bool {
        (model == nil || model == drive.model) && (serials.isEmpty || serials.contains(drive.serial))
            && (minimumSize.map { drive.sizeBytes >= $0 } ?? true)
            && (maximumSize.map { drive.sizeBytes <= $0 } ?? true)
            && (rotational.map { drive.isRotational == $0 } ?? true) && (!allEmptyNVMe || drive.isNVMe)
    }
}

/// A whole drive as sysfs shows it.
struct Drive: Sendable, Equatable {
    /// "nvme0n1".
    var name: String
    var number: DeviceNumber
    var sizeBytes: UInt64
    var model: String
    var serial: String
    var isRotational: Bool
    var isReadOnly: Bool
    var partitions: [String]
    /// Device-mapper and RAID devices that stand on it.
    var holders: [String]

    var path: FilePath { FilePath("/dev").appending(name) }
    var isNVMe: Bool { name.hasPrefix("nvme") }
    /// What LVM and a thin pool need, and then some.
    static let smallest: UInt64 = 512 << 20

    /// All drives of the machine, by name; loop devices, device-mapper's and the like are none.
    static func all(sys: FilePath = "/sys") throws -> [Drive] {
        let block = sys.appending("block")
        return try DurableFile.names(in: block).compactMap { name in
            let folder = block.appending(name)
            // The paths of a multipath namespace are hidden and have no number; what has no device is no hardware.
            guard let text = attribute(folder, "dev"), let number = DeviceNumber(parsing: text),
                try FileStatus.of(folder.appending("device")) != nil,
                let sectors = attribute(folder, "size").flatMap({ UInt64($0) })
            else { return nil }
            let entries = try DurableFile.names(in: folder)
            return Drive(
                name: name, number: number, sizeBytes: sectors * 512, model: attribute(folder, "device/model") ?? "",
                serial: attribute(folder, "device/serial") ?? "",
                isRotational: attribute(folder, "queue/rotational") == "1", isReadOnly: attribute(folder, "ro") == "1",
                partitions: entries.filter { attribute(folder, "\($0)/partition") != nil },
                holders: entries.contains("holders") ? try DurableFile.names(in: folder.appending("holders")) : [])
        }
    }

    /// sysfs says that its files have 4096 bytes and gives fewer.
    private static func attribute(_ folder: FilePath, _ name: String) -> String? {
        guard let bytes = (try? DurableFile.read(folder.pushing(FilePath(name)), limit: 8192)) ?? nil else {
            return nil
        }
        return String(decoding: bytes, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
    }
}

/// Finds the drives that a pool may be made of, and says of each other why it may not.
struct DriveChooser: Sendable {
    let tools: LVMTools
    let logger: @Sendable (String) -> Void
    var sys: FilePath = "/sys"
    var swaps: FilePath = "/proc/swaps"

    /// - Throws: `notFound` where a drive that is named is not there; `failedPrecondition` where one that is named may not be
    ///   used; `poolMissing`, with all reasons, where none is named and none may be used, as on a machine that has none.
    func choose(_ selection: DriveSelection) async throws -> [Drive] {
        guard !selection.isEmpty else {
            throw PerSSDError(
                .invalidArgument, "no drives are given to make the volume group of",
                remedy: "name them under 'drives', or make the volume group by hand")
        }
        let all = try Drive.all(sys: sys)
        let groups = try await tools.physicalVolumes()
        if !selection.paths.isEmpty { return try await named(selection, all, groups) }
        var chosen: [Drive] = []
        var reasons: [String] = []
        for drive in all where selection.matches(drive) {
            if let reason = try await refusal(of: drive, groups) {
                reasons.append("\(drive.path) \(reason)")
                logger("the drive \(drive.path) is passed over: it \(reason)")
            } else {
                chosen.append(drive)
            }
        }
        guard !chosen.isEmpty else {
            throw PerSSDError(
                .poolMissing,
                "of the \(all.count) drives of this machine, none can be used for the pool"
                    + (reasons.isEmpty ? ": the selection matches none" : ": " + reasons.joined(separator: "; ")),
                remedy: "correct the selection; PerSSD takes no drive that carries anything")
        }
        return chosen
    }

    private func named(_ selection: DriveSelection, _ all: [Drive], _ groups: [PhysicalVolume]) async throws -> [Drive]
    {
        var chosen: [Drive] = []
        for path in selection.paths {
            guard let status = try FileStatus.of(FilePath(path)), status.kind == .blockDevice else {
                throw PerSSDError(
                    .notFound, "the drive \(path) is not there, or is no block device",
                    remedy: "correct the path, or look for the drive in dmesg and nvme list")
            }
            guard let drive = all.first(where: { $0.number == status.deviceNumber }) else {
                throw PerSSDError(
                    .failedPrecondition, "\(path) is no whole drive", remedy: "name drives, not partitions of them")
            }
            let reason =
                try await selection.matches(drive)
                ? refusal(of: drive, groups) : "is not as the other criteria of the selection say"
            if let reason {
                throw PerSSDError(
                    .failedPrecondition, "the drive \(path) cannot be used: it \(reason)",
                    remedy: "name another one, or, if nothing on it is wanted any more, wipe it by hand with wipefs")
            }
            if !chosen.contains(drive) { chosen.append(drive) }
        }
        return chosen
    }

    /// Why the drive may not be taken, after "it"; nil where it carries nothing. What somebody would lose comes before what
    /// the drive cannot do.
    func refusal(of drive: Drive, _ groups: [PhysicalVolume]) async throws -> String? {
        if let group = groups.first(where: { FilePath($0.device).lastComponent?.string == drive.name }) {
            return group.group.isEmpty
                ? "is a physical volume of LVM" : "belongs to the volume group '\(group.group)'"
        }
        if let partition = drive.partitions.first { return "has partitions, such as \(partition)" }
        if let holder = drive.holders.first { return "is used by the device \(holder)" }
        if let mount = try MountTable.current().entries.first(where: { $0.device == drive.number }) {
            return "is mounted at \(mount.mountPoint)"
        }
        if try isSwap(drive) { return "is used as swap" }
        let output = try await tools.run("wipefs", ["--no-act", "--json", drive.path.string], timeout: .seconds(60))
        if let type = try Self.signature(output.standardOutput) { return "has a signature: \(type)" }
        // A file system that is mounted elsewhere (another mount namespace), a RAID that is being put together.
        if try BlockDevice.isHeld(drive.path) { return "is in use" }
        if drive.isReadOnly { return "is write-protected" }
        if drive.sizeBytes < Drive.smallest {
            return "is too small: it has \(drive.sizeBytes) bytes, and \(Drive.smallest) are the least"
        }
        // LVM would find out halfway, with its label on the drives before this one.
        do { try await BlockingPool.shared.run { try BlockDevice.probeWriting(drive.path) } } catch {
            return "takes no writes, as a drive that fails or is write-protected (look in dmesg): "
                + "\(PerSSDError(wrapping: error))"
        }
        return nil
    }

    private func isSwap(_ drive: Drive) throws -> Bool {
        let text = String(decoding: try DurableFile.read(swaps) ?? [], as: UTF8.self)
        return text.split(separator: "\n").contains { line in
            line.split(separator: " ").first.map { FilePath(String($0)) == drive.path } ?? false
        }
    }

    private struct Signatures: Decodable {
        struct Signature: Decodable { var type: String }
        var signatures: [Signature]
    }

    /// The first signature that wipefs(8) reports as JSON; it prints nothing at all where there is none, in some versions.
    static func signature(_ output: [UInt8]) throws -> String? {
        if output.allSatisfy({ $0 == 32 || (9...13).contains($0) }) { return nil }
        do {
            return try JSONDecoder().decode(Signatures.self, from: Data(output)).signatures.first?.type
        } catch {
            throw PerSSDError(
                .unsupported, "what wipefs reports is not in the form that is known",
                remedy: "install util-linux 2.33 or later", cause: error)
        }
    }
}
