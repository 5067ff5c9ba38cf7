import Blocking
import Errors
import Ext4
import Foundation
import Persistence
import Synchronization

/// The files of generations, read straight from the bucket.
enum GenerationFiles {
    /// Runs `body` on a thread that may wait, with the generation's file system.
    static func reading<Value: Sendable>(
        _ state: FoundState, in catalog: Catalog, _ body: @escaping @Sendable (Ext4) throws -> Value
    ) async throws -> Value {
        let reader = reader(state, catalog)
        return try await withTaskCancellationHandler {
            try await BlockingPool.shared.run { try body(try open(state, reader.read)) }
        } onCancel: {
            reader.cancel()
        }
    }

    /// Calls `deliver` for each file that differs, on a thread that may wait. Of what the two have in common, one is read.
    ///
    /// - Parameters:
    ///   - old: nil for an empty volume.
    ///   - differing: in which bytes they differ, ascending and apart.
    static func compare(
        _ new: FoundState, since old: FoundState?, differing: [Range<UInt64>], in catalog: Catalog,
        deliver: @escaping @Sendable (Ext4Difference) throws -> Void
    ) async throws {
        let newer = reader(new, catalog)
        let common = min(old?.record.map.capacityBytes ?? 0, new.record.map.capacityBytes)
        let differing = DifferingBytes(ranges: differing, commonBytes: common)
        // What follows a block that differs is most often the same in both, and not to be fetched ahead.
        let older = old.map {
            SharingReader(own: reader($0, catalog, readAhead: 1), other: newer, differing: differing)
        }
        try await withTaskCancellationHandler {
            try await BlockingPool.shared.run {
                var before: Ext4?
                if let old, let older { before = try open(old, older.read) }
                try Ext4Comparison(
                    of: try open(new, newer.read), since: before, differing: differing.parts, deliver: deliver
                ).run()
            }
        } onCancel: {
            newer.cancel()
            older?.own.cancel()
        }
    }

    private static func reader(
        _ state: FoundState, _ catalog: Catalog, readAhead: Int = VolumeReader.usualReadAhead
    ) -> WaitingReader {
        let record = state.record
        let map = StoredMap(root: record.map, store: catalog.store, lineage: record.lineage)
        return WaitingReader(VolumeReader(map, readAhead: readAhead))
    }

    private static func open(_ state: FoundState, _ read: @escaping Ext4.Read) throws -> Ext4 {
        try requireExt4(read, state)
        let files = try Ext4(sizeBytes: state.record.map.capacityBytes, read: read)
        if files.needsRecovery {
            Output.note(
                "the file system was in use when \(state.title) was cut: what is only in its journal is not seen here. Restore it to a "
                    + "file and mount that to see all of it.")
        }
        return files
    }

    private static func requireExt4(_ read: Ext4.Read, _ state: FoundState) throws {
        let length = min(ContentKind.lengthOfBeginning, state.record.map.capacityBytes)
        var beginning = [UInt8](repeating: 0, count: Int(length))
        try beginning.withUnsafeMutableBytes { try read(0, $0) }
        let content = ContentKind(beginning: beginning)
        guard content != .ext4 else { return }
        throw PerSSDError(
            .failedPrecondition,
            "\(state.title) of \(state.record.volume) holds \(content.title), and only files of an ext4 can be read "
                + "straight from the bucket",
            remedy: "'perssd restore' it to a file, and mount that")
    }
}

/// In which bytes two generations differ.
private struct DifferingBytes: Sendable {
    /// Ascending and apart.
    let ranges: [Range<UInt64>]
    /// As many as the smaller one has.
    let commonBytes: UInt64

    /// The parts of a range that differ. What only one of the two has does.
    func parts(of range: Range<UInt64>) -> [Range<UInt64>] {
        guard range.upperBound <= commonBytes else { return [range] }
        var (low, high) = (0, ranges.count)
        while low < high {
            let middle = (low + high) / 2
            if ranges[middle].upperBound <= range.lowerBound { low = middle + 1 } else { high = middle }
        }
        return ranges[low...].prefix { $0.lowerBound < range.upperBound }.map { $0.clamped(to: range) }
    }
}

/// Reads one generation, and of another one, which may have been fetched already, what the two have in common.
private struct SharingReader: Sendable {
    let own: WaitingReader
    let other: WaitingReader
    let differing: DifferingBytes

    func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws {
        let isCommon = differing.parts(of: offset..<offset + UInt64(buffer.count)).isEmpty
        try (isCommon ? other : own).read(at: offset, into: buffer)
    }
}
