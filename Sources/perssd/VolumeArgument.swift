import ArgumentParser
import Errors
import Persistence

/// What a user writes to name a volume, and perhaps one of its states: "namespace/claim@3", "namespace/claim@branch-7".
struct VolumeArgument: ExpressibleByArgument, Equatable {
    /// One state of a volume that the bucket holds.
    enum State: Equatable {
        case generation(UInt64)
        /// What the holder of this epoch's lease had not committed when it lost it.
        case branch(epoch: UInt64)
    }

    var volume: String
    /// nil for the newest generation.
    var state: State?

    init?(argument: String) {
        // Names may have an '@' in them; a state is the number behind the last one.
        if let at = argument.lastIndex(of: "@"), let state = State(argument[argument.index(after: at)...]) {
            guard state != .generation(0) else { return nil }
            (volume, self.state) = (String(argument[..<at]), state)
        } else {
            volume = argument
        }
        guard !volume.isEmpty else { return nil }
    }
}

extension VolumeArgument {
    static let help: ArgumentHelp =
        "The volume (id, name, or namespace/claim), and @GENERATION or @branch-EPOCH for another state than the newest."
}

/// A state of a volume that was looked up.
struct FoundState: Sendable {
    var record: GenerationRecord
    var isBranch = false

    /// "generation 3", "the branch of epoch 7".
    var title: String { isBranch ? "the branch of epoch \(record.epoch)" : "generation \(record.number)" }
    /// nil for a generation.
    var branchEpoch: UInt64? { isBranch ? record.epoch : nil }
}

extension VolumeArgument.State: CustomStringConvertible {
    private static let branchPrefix = "branch-"

    fileprivate init?(_ text: Substring) {
        if let number = UInt64(text) {
            self = .generation(number)
        } else if text.hasPrefix(Self.branchPrefix), let epoch = UInt64(text.dropFirst(Self.branchPrefix.count)) {
            self = .branch(epoch: epoch)
        } else {
            return nil
        }
    }

    /// As it is written behind the '@'.
    var description: String {
        switch self {
        case .generation(let number): "\(number)"
        case .branch(let epoch): "\(Self.branchPrefix)\(epoch)"
        }
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

    /// - Throws: `notFound` where the volume has no such state.
    func state(_ argument: VolumeArgument) async throws -> FoundState {
        try await state(argument.state, of: try await volume(argument.volume))
    }

    /// - Parameter state: nil for the newest generation.
    /// - Throws: `notFound` where the volume has no such state.
    func state(_ state: VolumeArgument.State?, of listing: VolumeListing) async throws -> FoundState {
        switch state {
        case nil: FoundState(record: try await provenGeneration(nil, of: listing).record)
        case .generation(let number): FoundState(record: try await provenGeneration(number, of: listing).record)
        case .branch(let epoch): FoundState(record: try await branch(epoch, of: listing), isBranch: true)
        }
    }

    /// - Throws: `notFound` where the volume has no branch of that epoch.
    func branch(_ epoch: UInt64, of listing: VolumeListing) async throws -> GenerationRecord {
        let branches = try await catalog.branches(of: listing.record.volume, listing.record.incarnation)
        guard let found = branches.first(where: { $0.epoch == epoch }) else {
            let known = branches.map { "\(VolumeArgument.State.branch(epoch: $0.epoch))" }.joined(separator: ", ")
            throw PerSSDError(
                .notFound,
                "volume '\(listing.record.title)' has no branch of epoch \(epoch)"
                    + (known.isEmpty ? ", nor any other" : "; it has \(known)"),
                remedy: "'perssd lease' lists a volume's branches")
        }
        return found
    }

    /// The generation that a branch is based on; nil where it began empty, or that generation has expired.
    func base(of branch: GenerationRecord, _ listing: VolumeListing) async throws -> ProvenGeneration? {
        guard branch.number > 1 else { return nil }
        do {
            return try await provenGeneration(branch.number - 1, of: listing)
        } catch let error as PerSSDError where error.code == .notFound {
            return nil
        }
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
