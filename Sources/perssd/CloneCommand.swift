import ArgumentParser
import Errors
import Persistence
import Settings
import Units

struct CloneCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "clone", abstract: "Makes a volume of a generation or a snapshot, without moving data.",
        discussion: """
            The new volume begins at the generation, and goes its own way from there. It has the parameters of the volume \
            that it was made of, and can be given to pods by a PersistentVolume whose volumeHandle is its id. The same again \
            finds the volume that is there. Of a branch, the new volume begins at the generation that the branch is based on, \
            and the branch is committed as its next.
            """)

    @Argument(
        help:
            "A volume (id, name, or namespace/claim), and @GENERATION or @branch-EPOCH for another state than the newest; or a snapshot (id or name)."
    )
    var source: VolumeArgument
    @Argument(help: "The new volume's name.") var name: String
    @Option(help: "The new volume's size, such as 20GiB. Default: the source's.") var size: String?
    @Option(help: "The pool of its local copies. Default: the source's.") var pool: String?
    @OptionGroup(title: "Store") var store: StoreOptions
    @Flag(help: "Print one JSON object, for scripts.") var json = false

    /// Bytes of a volume's name, as with CreateVolume.
    private static let nameLimit = 128

    private var requiredBytes: Int64? {
        guard let size else { return 0 }
        return ByteCount(parsing: size).flatMap { $0.bytes > 0 ? Int64(exactly: $0.bytes) : nil }
    }

    func validate() throws {
        guard !name.isEmpty, name.utf8.count <= Self.nameLimit, name == printable(name) else {
            throw ValidationError("a name has 1 to \(Self.nameLimit) bytes, and no control characters")
        }
        // Else nobody could name it here.
        guard VolumeID(name) == nil, VolumeArgument(argument: name)?.volume == name else {
            throw ValidationError("'\(name)' looks like a volume's id, or like a generation of a volume")
        }
        guard requiredBytes != nil else { throw ValidationError("--size has to be a size, such as 20GiB") }
    }

    private struct Report: Encodable {
        var volume: VolumeDescription
        var source: String
        /// null where the source had never been written.
        var generation: UInt64?
    }

    mutating func run() async throws {
        // A store that does not honour conditions could give two volumes one name.
        let catalog = Catalog(store: try await openProvenStore(store.settings()))
        let origin = try await CloneOrigin.find(source, in: catalog)
        var new = origin.volume(named: name)
        new.requiredBytes = requiredBytes ?? 0
        if let pool { new.parameters.pool = try VolumeParameters(parsing: ["pool": pool]).pool }
        let made = try await catalog.createVolume(new)
        if let branch = origin.branch { try await catalog.commit(branch: branch, to: made) }
        let listing = try await catalog.volume(made.volume)
        let generation = made.origin?.generation
        guard json else {
            let begin =
                origin.branch.map { "holds the branch of epoch \($0.epoch) of \($0.volume)" }
                ?? generation.map { "begins at generation \($0.number) of \($0.volume)" }
                ?? "is empty, as its source is"
            return Output.line(
                printable("volume \(made.title) (\(made.volume)), of \(ByteCount(made.capacityBytes)), \(begin)"))
        }
        try Output.json(
            Report(
                volume: VolumeDescription(listing), source: made.origin.map { "\($0.source)" } ?? "",
                generation: generation?.number))
    }
}

/// What a clone is to be made of.
private struct CloneOrigin {
    var source: CloneSource
    /// nil for a snapshot's, or a volume's newest.
    var generation: GenerationReference?
    /// What the clone's own first generation is to be; nil where it has none of its own.
    var branch: GenerationRecord?
    var parameters: VolumeParameters

    /// - Throws: `notFound` where neither a volume nor a snapshot is called that.
    static func find(_ argument: VolumeArgument, in catalog: Catalog) async throws -> CloneOrigin {
        if argument.state == nil, let id = SnapshotID(argument.volume) { return try await snapshot(id, catalog) }
        let finder = VolumeFinder(catalog: catalog)
        let listing: VolumeListing
        do {
            listing = try await finder.volume(argument.volume)
        } catch let error as PerSSDError where error.code == .notFound {
            guard argument.state == nil else { throw error }
            do {
                return try await snapshot(SnapshotID(name: argument.volume), catalog)
            } catch let other as PerSSDError where other.code == .notFound {
                throw PerSSDError(
                    .notFound,
                    "there is neither a volume nor a snapshot '\(argument.volume.prefix(300))' in "
                        + "\(catalog.store.location)",
                    remedy: "'perssd volumes' lists the volumes, and 'perssd log' a volume's snapshots")
            }
        }
        var origin = CloneOrigin(source: .volume(listing.record.volume), parameters: listing.record.parameters)
        switch argument.state {
        case nil: break
        case .generation(let number):
            origin.generation = try await finder.provenGeneration(number, of: listing).reference
        case .branch(let epoch):
            let branch = try await finder.branch(epoch, of: listing)
            guard listing.head.newest != nil else {
                throw PerSSDError(
                    .failedPrecondition,
                    "volume \(listing.record.title) has no generation, so a clone would share no blocks with its branch",
                    remedy: "'perssd restore' the branch to a file")
            }
            origin.branch = branch
            origin.generation = try await finder.base(of: branch, listing)?.reference
        }
        return origin
    }

    /// A snapshot has no parameters: its volume's, where that still is the same one, else those of a new volume.
    private static func snapshot(_ id: SnapshotID, _ catalog: Catalog) async throws -> CloneOrigin {
        let record = try await catalog.snapshot(id)
        var parameters = VolumeParameters()
        do {
            let volume = try await catalog.volume(record.volume).record
            if volume.incarnation == record.incarnation { parameters = volume.parameters }
        } catch let error as PerSSDError where error.code == .notFound {}
        return CloneOrigin(source: .snapshot(id), parameters: parameters)
    }

    func volume(named name: String) -> NewVolume {
        var new = NewVolume(
            name: name, requiredBytes: 0, limitBytes: 0, parameters: parameters, claim: nil, source: source)
        new.generation = generation
        return new
    }
}
