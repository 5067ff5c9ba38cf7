import ArgumentParser
import Errors
import Persistence

/// What a user writes to name a volume, and perhaps one of its generations: "namespace/claim@3".
struct VolumeArgument: ExpressibleByArgument, Equatable {
    var volume: String
    /// nil for the newest.
    var generation: UInt64?

    init?(argument: String) {
        // Names may have an '@' in them; a generation is the number behind the last one.
        if let at = argument.lastIndex(of: "@"), let number = UInt64(argument[argument.index(after: at)...]) {
            guard number > 0 else { return nil }
            (volume, generation) = (String(argument[..<at]), number)
        } else {
            volume = argument
        }
        guard !volume.isEmpty else { return nil }
    }
}

/// Volumes by what people call them.
struct VolumeFinder {
    let catalog: Catalog

    /// - Throws: `notFound` where nothing is called that; `invalidArgument` where several volumes are.
    func volume(_ text: String) async throws -> VolumeListing {
        if let id = VolumeID(text) { return try await catalog.volume(id) }
        do {
            let listing = try await catalog.volume(VolumeID(name: text))
            if listing.record.name == text { return listing }
        } catch let error as PerSSDError where error.code == .notFound {
            // It may be a claim.
        }
        let claimed = try await catalog.allVolumes().filter { $0.record.claim?.description == text }
        guard let first = claimed.first else {
            throw PerSSDError(
                .notFound, "there is no volume '\(text.prefix(300))' in \(catalog.store.location)",
                remedy: "'perssd volumes' lists those that there are")
        }
        guard claimed.count == 1 else {
            let ids = claimed.map(\.record.volume.rawValue).joined(separator: ", ")
            throw PerSSDError(
                .invalidArgument, "\(claimed.count) volumes were made for the claim '\(text)': \(ids)",
                remedy: "give the id of the one you mean")
        }
        return first
    }

    func generation(_ argument: VolumeArgument) async throws -> GenerationRecord {
        try await generation(argument.generation, of: try await volume(argument.volume))
    }

    /// - Parameter number: nil for the newest.
    /// - Throws: `notFound` where the volume has no such generation.
    func generation(_ number: UInt64?, of listing: VolumeListing) async throws -> GenerationRecord {
        try await provenGeneration(number, of: listing).record
    }

    /// A generation's record, and the reference that proves it: the head's, or that of the generation made from it.
    ///
    /// - Parameter number: nil for the newest.
    /// - Throws: `notFound` where the volume has no such generation.
    func provenGeneration(
        _ number: UInt64?, of listing: VolumeListing
    ) async throws -> ProvenGeneration {
        let title = listing.record.title
        guard let newest = listing.head.newest else {
            throw PerSSDError(
                .notFound, "volume '\(title)' has no generation: nothing of it has been staged out yet",
                remedy: "it is staged out when its pod ends")
        }
        let wanted = number ?? newest.number
        if wanted <= newest.number {
            let distance = Int(clamping: newest.number - wanted)
            // Fewer where some have expired.
            let chain = try await catalog.provenHistory(of: listing.head, limit: distance + 1)
            if let found = chain.first(where: { $0.record.number == wanted }) { return found }
        }
        throw PerSSDError(
            .notFound, "volume '\(title)' has no generation \(wanted), or no more; its newest is \(newest.number)",
            remedy: "'perssd log' lists those that there are")
    }
}
