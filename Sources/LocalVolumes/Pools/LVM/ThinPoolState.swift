import Errors

/// What a volume group holds of ours, sorted by what the tags say.
struct ThinPoolState: Sendable {
    struct Copy: Sendable, Equatable {
        var record: CopyRecord
        var volume: LogicalVolume
    }

    struct Base: Sendable, Equatable {
        var generation: UInt64
        var volume: LogicalVolume
    }

    /// Something that is not as PerSSD left it: reported, and left alone.
    struct Damage: Sendable {
        var sizeBytes: UInt64
        var error: PerSSDError
    }

    var pool: LogicalVolume
    var copies: [String: Copy] = [:]
    /// The newest last. There is one at the most, but for what a kill left.
    var cuts: [String: [LogicalVolume]] = [:]
    /// The newest last.
    var bases: [String: [Base]] = [:]
    var damaged: [String: Damage] = [:]
    /// Volumes with a tag of ours that cannot be said to belong to any copy.
    var findings: [PerSSDError] = []
    /// The capacity of thin volumes in our pool that somebody else made.
    var foreignBytes: UInt64 = 0

    /// - Throws: `failedPrecondition` where the group has no thin pool of ours.
    init(_ volumes: [LogicalVolume], group: String) throws {
        let pools = volumes.filter { $0.name == LVMNames.thinPool }
        guard let pool = pools.first, pool.segmentType == "thin-pool", LVMTags.thinPool.isSubset(of: pool.tags) else {
            throw PerSSDError(
                .failedPrecondition, "the volume group '\(group)' has no thin pool '\(LVMNames.thinPool)' of PerSSD's",
                remedy: "make one, and give it the tags \(LVMTags.thinPool.sorted().joined(separator: " and "))")
        }
        self.pool = pool
        for volume in volumes where volume.name != pool.name && !volume.segmentType.isEmpty {
            if LVMTags.isOurs(volume.tags) {
                sort(volume, group: group)
            } else if volume.pool == pool.name {
                foreignBytes += volume.sizeBytes
            }
        }
        for volume in cuts.keys { cuts[volume]?.sort { ($0.thinID ?? 0) < ($1.thinID ?? 0) } }
        for volume in bases.keys {
            bases[volume]?.sort { ($0.generation, $0.volume.thinID ?? 0) < ($1.generation, $1.volume.thinID ?? 0) }
        }
    }

    private mutating func sort(_ volume: LogicalVolume, group: String) {
        do {
            guard volume.segmentType == "thin", volume.pool == pool.name, volume.thinID != nil else {
                throw PerSSDError(.corrupt, "it is no thin volume of the pool")
            }
            switch try LVMTags.decode(volume.tags) {
            case .thinPool: throw PerSSDError(.corrupt, "its tags say that it is the pool")
            case .cut(let owner): cuts[owner, default: []].append(volume)
            case .base(let owner, let generation):
                bases[owner, default: []].append(Base(generation: generation, volume: volume))
            case .copy(let record):
                guard copies[record.volume] == nil, damaged[record.volume] == nil else {
                    copies[record.volume] = nil
                    throw PerSSDError(.corrupt, "there are two local copies of '\(record.volume)'")
                }
                guard volume.sizeBytes >= record.sizeBytes else {
                    throw PerSSDError(
                        .corrupt, "it has \(volume.sizeBytes) bytes where its tags say \(record.sizeBytes)")
                }
                copies[record.volume] = Copy(record: record, volume: volume)
            }
        } catch {
            let wrapped = PerSSDError(
                wrapping: error, during: "the logical volume \(group)/\(volume.name) is not as PerSSD left it")
            let explained = PerSSDError(
                wrapped.code, wrapped.message,
                remedy: "correct its tags, or remove it with lvremove; what is committed is safe in the bucket",
                cause: wrapped.cause)
            if let owner = LVMTags.volume(volume.tags) {
                copies[owner] = nil
                damaged[owner] = Damage(
                    sizeBytes: volume.sizeBytes + (damaged[owner]?.sizeBytes ?? 0), error: explained)
            } else {
                findings.append(explained)
                foreignBytes += volume.sizeBytes
            }
        }
    }

    // MARK: Room

    /// What new volumes leave free of the pool: a twentieth, at most 16 GiB.
    var margin: UInt64 { min(pool.sizeBytes / 20, 16 << 30) }

    /// How full the metadata may be before new volumes are refused, in percent.
    static let metadataLimit = 80.0

    var isShortOfMetadata: Bool { (pool.metadataPercent ?? 0) >= Self.metadataLimit }

    /// How full of data a pool may be that could fill up, in percent.
    static let dataLimit = 95.0

    /// Whether the pool could fill up, and is about to. A pool whose volumes can all be full at once is never short: what is
    /// promised may be written. It takes an overcommit factor, snapshots of volumes that change, or somebody else's volumes.
    var isShortOfData: Bool {
        guard let percent = pool.dataPercent, percent >= Self.dataLimit else { return false }
        let snapshots = cuts.values.joined().map(\.mappedBytes) + bases.values.joined().map(\.volume.mappedBytes)
        return snapshots.reduce(promisedBytes, +) > pool.sizeBytes
    }

    /// What is short, and what to do; nil where the margins are whole.
    func shortage(group: String) -> PerSSDError? {
        if isShortOfMetadata {
            return PerSSDError(
                .resourceExhausted,
                "the metadata of the thin pool \(group)/\(pool.name) is \(pool.metadataPercent ?? 0) % full",
                remedy: "enlarge it with lvextend --poolmetadatasize, or remove volumes")
        }
        guard isShortOfData else { return nil }
        return PerSSDError(
            .resourceExhausted,
            "the thin pool \(group)/\(pool.name) is \(pool.dataPercent ?? 0) % full, and its volumes may "
                + "write more than is left",
            remedy: "give the volume group a drive (vgextend) and the pool its room (lvextend), let pods end, or "
                + "remove what others made in it: once it is full, writes fail")
    }

    func totalBytes(overcommit: Double) -> UInt64 {
        let bytes = Double(pool.sizeBytes - margin) * overcommit
        return UInt64(min(bytes, Double(Int64.max))) / ImagePool.sizeUnit * ImagePool.sizeUnit
    }

    var promisedBytes: UInt64 {
        copies.values.reduce(0) { $0 + $1.record.sizeBytes } + damaged.values.reduce(0) { $0 + $1.sizeBytes }
            + foreignBytes
    }

    func freeBytes(overcommit: Double) -> UInt64 {
        let total = totalBytes(overcommit: overcommit)
        let promised = promisedBytes
        return isShortOfMetadata || isShortOfData || promised > total ? 0 : total - promised
    }

    /// The bases to let go, the largest first, until each copy can be written in full while it shares nothing with its base
    /// any more. What a pod writes comes before what makes the next stage-out short.
    ///
    /// - Parameter bytes: what is about to be promised, or held by one more snapshot.
    func dispensableBases(overcommit: Double, adding bytes: UInt64 = 0) -> [Base] {
        let all = bases.values.joined().sorted {
            ($0.volume.mappedBytes, $0.volume.name) > ($1.volume.mappedBytes, $1.volume.name)
        }
        if isShortOfMetadata || isShortOfData { return all }
        var needed = UInt64(Double(promisedBytes) / overcommit) + bytes
        for cut in cuts.values.joined() { needed += cut.mappedBytes }
        needed += all.reduce(0) { $0 + $1.volume.mappedBytes }
        var dispensable: [Base] = []
        for base in all where needed > pool.sizeBytes {
            dispensable.append(base)
            needed -= base.volume.mappedBytes
        }
        return dispensable
    }

    /// - Parameter isMirrored: whether one missing drive leaves all that is stored.
    /// - Throws: where the pool is not well.
    func checkHealth(group: String, isMirrored: Bool = false) throws {
        if isMirrored, pool.health == "partial" { return }
        let name = "the thin pool \(group)/\(pool.name)"
        if pool.needsCheck || pool.health == "metadata_read_only" || pool.health == "failed" {
            throw PerSSDError(
                .failedPrecondition, "\(name) needs repair: \(pool.needsCheck ? "needs check" : pool.health)",
                remedy: LVMTools.repairRemedy)
        }
        if pool.health == "out_of_data" || (pool.dataPercent ?? 0) >= 100 {
            throw PerSSDError(
                .resourceExhausted, "\(name) is full: writes fail",
                remedy: "give the volume group a drive (vgextend) and the pool its room (lvextend), or remove volumes")
        }
        guard pool.health.isEmpty || pool.health == "unknown" else {
            throw PerSSDError(
                .unavailable, "\(name) is not well: \(pool.health)", remedy: "look in dmesg for a drive that fails")
        }
    }
}
