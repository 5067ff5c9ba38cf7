import Blocking
import Errors
import LinuxSystem
import SystemPackage

extension LVMPool {
    /// Makes room now, for all that are to be cut together. Of LVM's commands only the one that makes the snapshot is left then.
    public func prepareCut(_ volume: String) async throws {
        _ = try record(of: volume)
        try await alone { state in
            guard state.cuts[volume] == nil else { return }
            let bytes = self.prepared.union([volume]).reduce(0) { $0 + (state.copies[$1]?.volume.mappedBytes ?? 0) }
            await self.makeRoom(state, for: bytes)
            self.note(volume, isPrepared: true)
        }
    }

    public func cut(_ volume: String) async throws -> Cut {
        _ = try record(of: volume)
        let isPrepared = prepared.contains(volume) && !mayHaveCut(volume)
        note(volume, isPrepared: false)
        if isPrepared { return try await aloneWithoutLook { try await self.makeCut(volume) } }
        return try await alone { state in
            guard let copy = state.copies[volume] else { throw self.missing(volume) }
            guard state.cuts[volume] == nil else {
                throw PerSSDError(
                    .failedPrecondition, "'\(volume)' has a cut already", remedy: "keep or discard that one first")
            }
            await self.makeRoom(state, for: copy.volume.mappedBytes)
            return try await self.makeCut(volume)
        }
    }

    private func makeCut(_ volume: String) async throws -> Cut {
        note(cutOf: volume, isThere: true)
        let snapshot = try await snapshot(of: volume, as: .cut(volume: volume))
        return Cut(volume: volume, path: try await activate(snapshot), isIndependent: true)
    }

    public func pendingCut(_ volume: String) async throws -> Cut? {
        _ = try record(of: volume)
        guard mayHaveCut(volume) else { return nil }
        return try await aloneAsListed { state in
            guard let cut = state.cuts[volume]?.last else { return nil }
            return Cut(volume: volume, path: try await self.activate(cut.name), isIndependent: true)
        }
    }

    /// Without a device: after a loss of power it may be in the group's metadata and not in those of the thin pool, so that it
    /// can be removed, and not activated.
    public func discardPendingCut(_ volume: String) async throws {
        _ = try record(of: volume)
        guard mayHaveCut(volume) else { return }
        try await discard(Cut(volume: volume, path: "/", isIndependent: true))
    }

    /// A read-only snapshot that bears its tags from the start.
    private func snapshot(of volume: String, as meaning: LVMTags.Meaning) async throws -> String {
        let (copy, name) = (LVMNames.copy(volume), LVMNames.snapshot(volume))
        try await BlockingPool.shared.run {
            // What is in the page cache of the device itself; LVM sees to the file system's.
            if let device = try self.device(of: copy) { try BlockDevice.flush(device) }
        }
        try await change(
            "lvcreate",
            ["--yes", "--snapshot", "--setactivationskip", "n", "--permission", "r"]
                + Self.adding(LVMTags.encode(meaning)) + ["--name", name, "\(group)/\(copy)"])
        return name
    }

    public func keep(_ cut: Cut, asBaseFor generation: UInt64) async throws {
        let volume = cut.volume
        _ = try record(of: volume)
        try await aloneAsListed { state in
            let bases = state.bases[volume] ?? []
            guard let kept = state.cuts[volume]?.last else {
                // A retry after an answer that got lost.
                guard bases.contains(where: { $0.generation == generation }) else {
                    throw PerSSDError(.notFound, "'\(volume)' has no cut to keep")
                }
                await self.discard(bases.filter { $0.generation != generation }.map(\.volume))
                return
            }
            let tags = Self.exchanging(
                LVMTags.encode(.cut(volume: volume)), LVMTags.encode(.base(volume: volume, generation: generation)))
            try await self.change("lvchange", tags + ["\(self.group)/\(kept.name)"])
            self.note(cutOf: volume, isThere: false)
            await self.discard(bases.map(\.volume))
            await self.deactivate(kept.name)
        }
    }

    public func keepCopy(_ volume: String, asBaseFor generation: UInt64) async throws {
        _ = try record(of: volume)
        try await alone { state in
            guard let copy = state.copies[volume] else { throw self.missing(volume) }
            await self.makeRoom(state, for: copy.volume.mappedBytes)
            let name = try await self.snapshot(of: volume, as: .base(volume: volume, generation: generation))
            await self.discard((state.bases[volume] ?? []).map(\.volume))
            await self.deactivate(name)
        }
    }

    public func discard(_ cut: Cut) async throws {
        _ = try record(of: cut.volume)
        try await aloneAsListed { state in
            if let cuts = state.cuts[cut.volume] {
                try await self.change("lvremove", ["--yes"] + cuts.map { "\(self.group)/\($0.name)" })
            }
            self.note(cutOf: cut.volume, isThere: false)
        }
    }

    /// A base is compared by its number in the metadata and needs no device.
    private func deactivate(_ logicalVolume: String) async {
        do {
            try await tools.lvm("lvchange", ["--activate", "n", "\(group)/\(logicalVolume)"])
        } catch {
            logger.debug("\(group)/\(logicalVolume) stays active: \(error)")
        }
    }

    // MARK: What changed

    public func base(of volume: String, for generation: UInt64) async throws -> FilePath? {
        _ = try record(of: volume)
        return try await aloneAsListed { state in
            guard let base = state.bases[volume]?.last(where: { $0.generation == generation }) else { return nil }
            do {
                _ = try await self.activate(base.volume.name)
            } catch {
                // It makes a stage-out shorter, and must not keep one from being made.
                self.logger.warning("the base of '\(volume)' in the pool '\(self.name)' cannot be used: \(error)")
                return nil
            }
            // By its name, which no other volume ever gets: should the base go before it is opened, its number may be
            // another's then.
            let name = LVMNames.deviceMapperName(self.group, base.volume.name)
            return try await BlockingPool.shared.run { try DeviceMapper.namedNode(of: name) }
        }
    }

    public func changes(in cut: Cut, since generation: UInt64) async throws -> [Range<UInt64>]? {
        _ = try record(of: cut.volume)
        return try await aloneAsListed { state in
            guard let snapshot = state.cuts[cut.volume]?.last, let id = snapshot.thinID,
                let base = state.bases[cut.volume]?.last(where: { $0.generation == generation })?.volume,
                let baseID = base.thinID, base.sizeBytes <= snapshot.sizeBytes
            else { return nil }
            let output = try await self.readMetadata(
                "thin_delta", ["--metadata-snap", "--snap1", "\(baseID)", "--snap2", "\(id)"])
            return output.flatMap(ThinMetadata.differences).map { Self.clipped($0, to: snapshot.sizeBytes) }
        }
    }

    public func allocatedRanges(of cut: Cut) async throws -> [Range<UInt64>]? {
        _ = try record(of: cut.volume)
        return try await aloneAsListed { state in
            guard let snapshot = state.cuts[cut.volume]?.last, let id = snapshot.thinID else { return nil }
            let output = try await self.readMetadata("thin_dump", ["--metadata-snap", "--dev-id", "\(id)"])
            return output.flatMap(ThinMetadata.mappings).map { Self.clipped($0, to: snapshot.sizeBytes) }
        }
    }

    /// A last chunk may reach beyond the end of its volume.
    static func clipped(_ ranges: [Range<UInt64>], to size: UInt64) -> [Range<UInt64>] {
        ranges.compactMap { $0.lowerBound < size ? $0.lowerBound..<min($0.upperBound, size) : nil }
    }

    /// Runs a tool on the pool's metadata as they are at this moment.
    ///
    /// - Returns: nil where the metadata do not tell, or their list is too long to be of use: then all is read, which is slow
    ///   and right.
    private func readMetadata(_ tool: String, _ arguments: [String]) async throws -> [UInt8]? {
        let metadata = try await BlockingPool.shared.run {
            try DeviceMapper.node(of: LVMNames.deviceMapperName(self.group, LVMNames.thinPool + "_tmeta"))
        }
        do {
            try await message("reserve_metadata_snap")
        } catch {
            // A kill has left one behind.
            try await message("release_metadata_snap")
            try await message("reserve_metadata_snap")
        }
        var output: [UInt8]?
        do {
            output = try await tools.run(
                tool, arguments + [metadata.string], timeout: .seconds(300), outputLimit: 64 << 20
            ).standardOutput
        } catch {
            logger.warning("the metadata of the pool '\(name)' do not tell what changed: \(error)")
        }
        do {
            try await message("release_metadata_snap")
        } catch {
            logger.warning("a snapshot of the metadata of the pool '\(name)' stays: \(error)")
        }
        return output
    }

    private func message(_ text: String) async throws {
        let device = LVMNames.deviceMapperName(group, LVMNames.thinPool, layer: "-tpool")
        try await tools.run("dmsetup", ["message", device, "0", text], timeout: .seconds(60))
    }
}
