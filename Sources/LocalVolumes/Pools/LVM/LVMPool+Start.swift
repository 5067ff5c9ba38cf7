import Blocking
import Commands
import Errors
import LinuxSystem
import Logging
import SystemPackage

/// How a volume group becomes a pool, and how it is taken up again.
extension LVMPool {
    /// Takes the volume group for this process; makes it, and the thin pool in it, where it is missing and may be made.
    /// `recover` comes next.
    ///
    /// - Parameter kernel: what runs here; nil to ask it.
    /// - Throws: `failedPrecondition` where another process uses the pool, the group is not ours, or a drive may not be used;
    ///   `notFound` where the group or a drive is not there; `poolMissing` where the machine lacks drives, tools, or a part of
    ///   the kernel.
    public static func open(
        name: String, options: Options, lockDirectory: FilePath = "/run/lock",
        runner: any CommandRunner = SubprocessRunner(), kernel: KernelRelease? = nil, logger: Logger
    ) async throws -> LVMPool {
        do {
            guard options.overcommit >= 1, options.overcommit <= 100 else {
                throw PerSSDError(
                    .invalidArgument, "an overcommit factor of \(options.overcommit) is outside 1 to 100",
                    remedy: "correct the pool's options")
            }
            try LVMNames.validateGroup(options.volumeGroup)
            let lock = try await BlockingPool.shared.run {
                try DurableFile.makeDirectory(lockDirectory, mode: 0o755)
                return try FileLock(lockDirectory.appending("perssd-vg-\(options.volumeGroup).lock"))
            }
            let tools = try LVMTools(runner: runner)
            try await tools.check()
            let builder = PoolBuilder(name: name, options: options, tools: tools, logger: logger)
            let group = try await builder.findOrMake()
            let pool = LVMPool(
                name: name, options: options, tools: tools, extentBytes: group.extentBytes,
                kernel: kernel ?? (try? .current()), lock: lock, logger: logger)
            try await pool.requireKernelsHelp()
            return pool
        } catch {
            throw PerSSDError(wrapping: error, during: "could not open the pool '\(name)'")
        }
    }

    /// - Throws: `poolMissing` where the kernel cannot have thin pools. What else is wrong with this one `recover` tells.
    private func requireKernelsHelp() async throws {
        do {
            try await activatePool()
        } catch let error as PerSSDError where error.code != .poolMissing {
            logger.debug("the thin pool cannot be activated: \(error)")
        }
    }

    /// - Throws: `unavailable` where drives are missing that the data need.
    static func checkDrives(_ group: VolumeGroup, isMirrored: Bool, _ logger: Logger) throws {
        guard group.missingDrives > 0 else { return }
        let what = "\(group.missingDrives) of the drives of the volume group '\(group.name)' are missing"
        guard isMirrored, group.missingDrives == 1 else {
            throw PerSSDError(
                .unavailable, what,
                remedy:
                    "bring them back; if they are lost for good, remove the group by hand: what is committed is safe in "
                    + "the bucket")
        }
        logger.error(
            "\(what): the pool goes on with one leg of its mirror. Bring it back, or \(LVMTools.giveUpRemedy)")
    }

    func activatePool() async throws {
        try await tools.lvm("lvchange", ["--activate", "y", "\(group)/\(LVMNames.thinPool)"])
    }

    /// Ends what a kill has left unfinished.
    func finish(_ state: inout ThinPoolState) async throws {
        for (volume, copy) in state.copies where copy.volume.sizeBytes > copy.record.sizeBytes {
            // A kill came between the two steps of a growth, which was promised already.
            var grown = copy.record
            grown.sizeBytes = copy.volume.sizeBytes
            let tags = Self.exchanging(LVMTags.encode(.copy(copy.record)), LVMTags.encode(.copy(grown)))
            try await tools.lvm("lvchange", tags + ["\(group)/\(copy.volume.name)"])
            state.copies[volume]?.record = grown
        }
        let unwanted = Self.unwanted(state)
        await discard(unwanted)
        let names = Set(unwanted.map(\.name))
        for volume in state.cuts.keys { state.cuts[volume]?.removeAll { names.contains($0.name) } }
        for volume in state.bases.keys { state.bases[volume]?.removeAll { names.contains($0.volume.name) } }
    }

    /// The snapshots that no copy needs: those without one, cuts of what is committed, and all but the newest.
    static func unwanted(_ state: ThinPoolState) -> [LogicalVolume] {
        var unwanted: [LogicalVolume] = []
        for (volume, cuts) in state.cuts where state.damaged[volume] == nil {
            unwanted += state.copies[volume]?.record.state == .dirty ? cuts.dropLast() : cuts
        }
        for (volume, bases) in state.bases where state.damaged[volume] == nil {
            unwanted += (state.copies[volume] == nil ? bases : bases.dropLast()).map(\.volume)
        }
        return unwanted.sorted { $0.name < $1.name }
    }
}

/// Finds the volume group of a pool, or makes it.
struct PoolBuilder: Sendable {
    let name: String
    let options: LVMPool.Options
    let tools: LVMTools
    let logger: Logger

    func findOrMake() async throws -> VolumeGroup {
        let groups = try await tools.volumeGroups().filter { $0.name == options.volumeGroup }
        guard groups.count <= 1 else {
            throw PerSSDError(
                .failedPrecondition, "there are \(groups.count) volume groups named '\(options.volumeGroup)'",
                remedy: "rename all but one with vgrename")
        }
        if let group = groups.first { return try await takeUp(group) }
        guard options.mayCreate else {
            throw PerSSDError(
                .notFound, "there is no volume group '\(options.volumeGroup)', and it is not to be made",
                remedy: "look for its drives in dmesg and nvme list, or set 'create' for a pool that is new")
        }
        return try await make()
    }

    private func takeUp(_ group: VolumeGroup) async throws -> VolumeGroup {
        try Self.requireOurs(group, pool: name)
        guard group.extentBytes > 0, (4 << 20) % group.extentBytes == 0 else {
            throw PerSSDError(
                .failedPrecondition, "the extents of the volume group '\(group.name)' have \(group.extentBytes) bytes",
                remedy: "make it with extents that 4 MiB is a multiple of, as is LVM's default")
        }
        try LVMPool.checkDrives(group, isMirrored: options.layout == .raid1, logger)
        if group.tags.contains(LVMTags.new) { try await makePool(in: group) }
        // Also tells where the thin pool is missing.
        _ = try ThinPoolState(try await tools.logicalVolumes(group.name), group: group.name)
        return group
    }

    /// - Throws: `failedPrecondition` where the group is somebody else's or another pool's, `unsupported` where it has a format
    ///   from the future.
    static func requireOurs(_ group: VolumeGroup, pool: String) throws {
        let wanted = LVMTags.group(pool)
        guard group.tags.contains(LVMTags.mark) else {
            throw PerSSDError(
                .failedPrecondition, "the volume group '\(group.name)' was not made by PerSSD, and is left alone",
                remedy: "choose another name, or, to hand it over, give it the tags "
                    + "\(wanted.sorted().joined(separator: ", ")) and make the thin pool '\(LVMNames.thinPool)' in it")
        }
        let format = group.tags.first { $0.hasPrefix(LVMTags.formatPrefix) } ?? "no format"
        guard format == LVMTags.format else {
            throw PerSSDError(
                .unsupported,
                "the volume group '\(group.name)' has '\(format)', and this version knows '\(LVMTags.format)'",
                remedy: "run the version of PerSSD that made it, or a later one")
        }
        guard wanted.isSubset(of: group.tags) else {
            throw PerSSDError(
                .failedPrecondition, "the volume group '\(group.name)' belongs to another pool than '\(pool)'",
                remedy: "correct the pool's name, or choose another volume group")
        }
    }

    private func make() async throws -> VolumeGroup {
        let logger = logger
        let chooser = DriveChooser(tools: tools, logger: { logger.warning("\($0)") })
        let drives = try await chooser.choose(options.drives)
        let paths = drives.map(\.path.string)
        // So that what cannot be laid out is refused while the drives are still as they were.
        _ = try plan(extentBytes: 4 << 20, free: drives.map(\.sizeBytes))
        logger.notice("making the volume group '\(options.volumeGroup)' of \(paths.joined(separator: ", "))")
        // Without --yes: where LVM sees something that we did not, it asks, and takes no answer for no. Room for the
        // group's metadata, which are text, of some thousand volumes with their tags.
        try await tools.lvm(
            "vgcreate",
            ["--physicalextentsize", "4m", "--metadatasize", "16m"]
                + LVMPool.adding(LVMTags.group(name).union([LVMTags.new])) + [options.volumeGroup] + paths)
        guard let group = try await tools.volumeGroups().first(where: { $0.name == options.volumeGroup }) else {
            throw PerSSDError(.internal, "the volume group '\(options.volumeGroup)' was made, and is not there")
        }
        return try await takeUp(group)
    }

    /// Makes the thin pool in a group that is new, in which nobody else has made anything. What a kill has left of an earlier
    /// try holds nothing yet, and goes.
    private func makePool(in group: VolumeGroup) async throws {
        let left = try await tools.logicalVolumes(group.name).filter {
            [LVMNames.thinPool, LVMNames.thinPool + "_metadata"].contains($0.name)
        }
        if !left.isEmpty { try await tools.lvm("lvremove", ["--yes"] + left.map { "\(group.name)/\($0.name)" }) }
        let free = try await tools.physicalVolumes().filter { $0.group == group.name }.map(\.freeBytes)
        for step in try plan(extentBytes: group.extentBytes, free: free).commands(group: group.name) {
            try await tools.lvm(step.command, step.arguments)
        }
        try await tools.lvm("vgchange", ["--deltag", LVMTags.new, group.name])
    }

    private func plan(extentBytes: UInt64, free: [UInt64]) throws -> ThinPoolPlan {
        try ThinPoolPlan(
            layout: options.layout, stripes: options.stripes, chunkBytes: options.chunkSize, extentBytes: extentBytes,
            drives: free)
    }
}
