import Errors
import LocalVolumes
import Persistence

/// Volumes that many nodes read. Each of them has a local copy of its own of one generation, which its record in the bucket
/// keeps there for as long as the node may need it anew.
extension LocalVolumeWork {
    /// Brings the local copy to the generation that this node is to read. The lease is not needed, as nothing is written.
    func makeReadable(_ request: PublishRequest, isFirst: Bool, progress: WorkProgress) async throws {
        let listing = try await environment.catalog.volume(volume)
        remember(listing.record)
        let reader = try await reader(request, listing)
        guard isFirst else { return try requireRead(reader) }
        try await settleOldCopy(listing, isFirst: true, progress: progress)
        try await bringCopy(
            to: reader.generation, of: listing, access: request.publication.access, progress: progress)
        try await update { [now = environment.now] in
            $0.use = .reading
            $0.lastUsed = now
        }
    }

    /// What the controller let this node read; where no controller attaches, what is newest now.
    private func reader(_ request: PublishRequest, _ listing: VolumeListing) async throws -> ReaderRecord {
        let catalog = environment.catalog
        guard let number = request.generation else {
            return try await catalog.beginReading(listing, by: environment.node, as: nil)
        }
        guard let reader = try await catalog.reader(of: listing, on: environment.node),
            reader.generation.number == number
        else {
            throw PerSSDError(
                .failedPrecondition,
                "generation \(number) of volume \(volume), which node \(environment.node) was to read, has been taken back",
                remedy: "attach the volume to this node again")
        }
        return reader
    }

    /// What a pod reads is never exchanged under it.
    private func requireRead(_ reader: ReaderRecord) throws {
        guard let copy else { throw PerSSDError(.internal, "volume \(volume) has no local copy") }
        let generation = reader.generation
        guard copy.incarnation != reader.incarnation.rawValue || copy.generation != generation.number else { return }
        throw PerSSDError(
            .failedPrecondition,
            "volume \(volume) is published on this node at generation \(copy.generation), and \(generation) is to be read",
            remedy: "unpublish it on this node first")
    }

    /// Nobody reads the local copy any more, which a start has found: it is a cache again.
    func readNoMore() async throws {
        if copy != nil { try await update { $0.use = .volume } }
        await endReading()
    }

    /// Where no controller will say so, the node does: it reads the volume no more. That this fails keeps a generation for
    /// longer, and is no reason to keep a pod from ending.
    func endReading() async {
        do {
            try await environment.catalog.removeReaders(environment.node, of: volume, onlyOwn: true)
        } catch {
            environment.logger.warning(
                "the bucket still says that this node reads the volume: \(error)", metadata: ["volume": "\(volume)"])
        }
    }
}
