import Errors
import Foundation

/// What a volume would come back as, were the node that has it lost now.
public struct RecoveryPoint: Sendable {
    /// The number of the newest generation.
    public var generation: UInt64
    /// When its contents were cut.
    public var cutAt: Date

    /// How old what it holds is; nothing where clocks differ by more than that.
    public func age(at now: Date) -> Duration { .seconds(max(0, now.timeIntervalSince(cutAt).rounded())) }
}

extension Catalog {
    /// - Returns: nil where nothing has been staged out yet.
    /// - Throws: `corrupt` where the newest generation's record cannot be used.
    public func recoveryPoint(of head: Head) async throws -> RecoveryPoint? {
        guard let newest = head.newest else { return nil }
        return RecoveryPoint(generation: newest.number, cutAt: try await generation(newest).provenance.cutAt)
    }

    /// Those of many volumes, without those that cannot be told: because nothing has been staged out yet, the record of the
    /// newest generation cannot be used, or the volume has gone on since its head was read.
    public func recoveryPoints(of heads: [Head]) async throws -> [VolumeID: RecoveryPoint] {
        let found = try await inOrder(heads) { head -> (VolumeID, RecoveryPoint)? in
            do {
                return try await recoveryPoint(of: head).map { (head.volume, $0) }
            } catch let error as PerSSDError where error.code == .corrupt || error.code == .unsupported {
                return nil
            }
        }
        return Dictionary(uniqueKeysWithValues: found)
    }
}
