import Blocking
import Errors
import Foundation
import LinuxSystem
import LocalVolumes
import Persistence
import SystemPackage

/// Who has had a volume on this node since the last generation, for the next one's provenance. Pure.
struct VolumeUses: Sendable, Codable, Equatable {
    /// One use, and where the volume is published for it.
    struct Entry: Sendable, Codable, Equatable {
        var path: String
        var use: VolumeUse
    }

    /// Which life of the volume it is about.
    var incarnation: String
    /// Since when the volume may hold what no generation has; nil where it does not.
    var startedAt: Date?
    /// In the order of their begins.
    var entries: [Entry] = []

    var isEmpty: Bool { startedAt == nil && entries.isEmpty }

    /// The volume is opened for writing.
    mutating func opened(at now: Date) { startedAt = startedAt ?? now }

    mutating func began(_ use: VolumeUse, at path: String) {
        // What an end that nobody saw has left.
        ended(at: path, now: use.startedAt)
        entries.append(Entry(path: path, use: use))
    }

    /// The publish failed after all.
    mutating func neverBegan(at path: String) { entries.removeAll { $0.path == path && $0.use.endedAt == nil } }

    mutating func ended(at path: String, now: Date) { end(now) { $0 == path } }

    /// After a restart: uses whose end nobody saw have ended by now.
    mutating func endAll(besides paths: Set<String>, now: Date) { end(now) { !paths.contains($0) } }

    private mutating func end(_ now: Date, where isIt: (String) -> Bool) {
        for index in entries.indices where entries[index].use.endedAt == nil && isIt(entries[index].path) {
            entries[index].use.endedAt = now
        }
    }

    /// What was cut is in a generation now. Uses that had ended by the cut are told of in full.
    ///
    /// - Parameters:
    ///   - cut: these uses as they were at the cut.
    ///   - closed: nothing was written since.
    mutating func committed(_ cut: VolumeUses, at cutAt: Date, closed: Bool) {
        entries.removeAll { $0.use.endedAt != nil && cut.entries.contains($0) }
        startedAt = closed ? nil : cutAt
    }
}

/// Keeps `VolumeUses` across restarts of the plugin: a file for each volume that may hold what no generation has, in the state
/// directory. LVM's tags, which hold the rest of what has to be known of a local copy, are too small for it.
///
/// Nothing but provenance hangs on it: what cannot be read or written is told of in the log, and the work goes on.
struct VolumeUseFiles: Sendable {
    let directory: FilePath

    private struct Stored: Codable {
        static let currentFormat = 1
        var format = Self.currentFormat
        var uses: VolumeUses
    }

    /// - Throws: `corrupt` or `unsupported` where the file is no such record.
    func read(_ volume: VolumeID) async throws -> VolumeUses? {
        let path = path(of: volume)
        guard let bytes = try await BlockingPool.shared.run({ try DurableFile.read(path) }) else { return nil }
        do {
            let stored = try JSONDecoder().decode(Stored.self, from: Data(bytes))
            guard stored.format == Stored.currentFormat else {
                throw PerSSDError(.unsupported, "\(path) has format \(stored.format), which is not known here")
            }
            return stored.uses
        } catch let error as DecodingError {
            throw PerSSDError(.corrupt, "\(path) does not tell who used a volume", cause: error)
        }
    }

    /// Empty ones have no file.
    func write(_ uses: VolumeUses, of volume: VolumeID) async throws {
        let path = path(of: volume)
        let bytes = uses.isEmpty ? nil : [UInt8](try JSONEncoder().encode(Stored(uses: uses)))
        try await BlockingPool.shared.run {
            guard let bytes else { return _ = try DurableFile.removeIfThere(path) }
            try DurableFile.makeDirectory(directory)
            try DurableFile.write(bytes, to: path)
        }
    }

    /// Removes the files of volumes that this node has nothing of.
    func removeAll(besides volumes: Set<String>) async throws {
        try await BlockingPool.shared.run {
            guard try FileStatus.of(directory) != nil else { return }
            for name in try DurableFile.names(in: directory) {
                let isWanted = name.hasSuffix(".json") && volumes.contains(String(name.dropLast(5)))
                if !isWanted { try DurableFile.removeIfThere(directory.appending(name)) }
            }
        }
    }

    private func path(of volume: VolumeID) -> FilePath { directory.appending("\(volume).json") }
}

extension LocalVolumeWork {
    /// Who has had the volume since the last generation.
    func uses() async -> VolumeUses {
        let incarnation = copy?.incarnation ?? ""
        if let known = memory.withLock({ $0.uses }), known.incarnation == incarnation { return known }
        do {
            let stored = try await environment.useFiles.read(volume)
            if let stored, stored.incarnation == incarnation { return stored }
        } catch {
            environment.logger.warning(
                "who used the volume before is not known any more: \(error)", metadata: ["volume": "\(volume)"])
        }
        return VolumeUses(incarnation: incarnation)
    }

    /// Changes that, durably.
    func updateUses(_ change: @escaping @Sendable (inout VolumeUses) -> Void) async {
        // A task of its own: work that is cancelled has happened all the same.
        let task = Task {
            // Access work and a stage-out beside it come one after the other here.
            try await useChanges.run {
                let before = await uses()
                var after = before
                change(&after)
                memory.withLock { [after] in $0.uses = after }
                if after != before { try await environment.useFiles.write(after, of: volume) }
            }
        }
        do {
            try await task.value
        } catch {
            environment.logger.warning(
                "who uses the volume would not be known after a restart: \(error)", metadata: ["volume": "\(volume)"])
        }
    }
}
