import Errors
import Logging
import Persistence

/// This node's part in group snapshots. A controller asks for one step after the other: all nodes are ready, all hold, all go
/// on; and whatever it does not ask for in time is given up.
actor GroupCuts {
    private let node: NodeReference
    private let catalog: Catalog
    private let volumes: NodeVolumes
    private var held: [GroupSnapshotID: (incarnation: Incarnation, cuts: [HeldCut])] = [:]

    init(node: NodeReference, catalog: Catalog, volumes: NodeVolumes) {
        (self.node, self.catalog, self.volumes) = (node, catalog, volumes)
    }

    func take(
        _ step: GroupCutStep, of group: GroupSnapshotID, _ incarnation: Incarnation,
        until deadline: ContinuousClock.Instant
    ) async throws {
        switch step {
        case .prepare:
            for (cut, volume) in try await wanted(group, incarnation) {
                try await volumes.prepare(cut, of: volume, until: deadline)
            }
        case .hold: try await hold(group, incarnation, until: deadline)
        case .release: try await conclude(group, incarnation, keeps: true)
        case .abandon: try? await conclude(group, incarnation, keeps: false)
        case .confirm: try await confirm(group, incarnation)
        }
    }

    /// The group's cuts that are this node's.
    private func wanted(
        _ group: GroupSnapshotID, _ incarnation: Incarnation
    ) async throws -> [(cut: HeldCut, volume: VolumeID)] {
        let record = try await catalog.groupToCut(group, incarnation)
        let written = record.members.filter { $0.node != nil }
        return written.filter { $0.node == node }.map {
            (HeldCut(snapshot: $0.snapshot, epoch: $0.epoch ?? 0, isAlone: written.count == 1), $0.volume)
        }
    }

    private func hold(
        _ group: GroupSnapshotID, _ incarnation: Incarnation, until deadline: ContinuousClock.Instant
    ) async throws {
        let wanted = try await wanted(group, incarnation)
        if let before = held[group] { try? await conclude(group, before.incarnation, keeps: false) }
        held[group] = (incarnation, wanted.map(\.cut))
        do {
            for (cut, volume) in wanted { await volumes.begin(cut, of: volume, until: deadline) }
            for (cut, _) in wanted { try await cut.waitForCut(until: deadline) }
        } catch {
            try? await conclude(group, incarnation, keeps: false)
            throw error
        }
    }

    /// Lets all of the group's volumes go on.
    ///
    /// - Throws: why one of them has no cut: then the group cannot have any.
    private func conclude(_ group: GroupSnapshotID, _ incarnation: Incarnation, keeps: Bool) async throws {
        guard let (current, cuts) = held[group], current == incarnation else {
            throw PerSSDError(.aborted, "node \(node) holds nothing for group snapshot \(group)", remedy: "try again")
        }
        held[group] = nil
        var failure: PerSSDError?
        await withTaskGroup(of: PerSSDError?.self) { tasks in
            for cut in cuts {
                tasks.addTask {
                    do { try await cut.conclude(keeps: keeps) } catch { return PerSSDError(wrapping: error) }
                    return nil
                }
            }
            for await error in tasks where failure == nil { failure = error }
        }
        if let failure { throw failure }
    }

    /// That what was cut here is in the bucket, or on its way.
    private func confirm(_ group: GroupSnapshotID, _ incarnation: Incarnation) async throws {
        let record = try await catalog.group(group)
        guard record.incarnation == incarnation else { return }
        for member in record.members where member.node == node {
            if await volumes.isBringing(member.snapshot, of: member.volume) { continue }
            // It may have been made ready just before it was asked for.
            guard try await !catalog.snapshot(member.snapshot).isReady else { continue }
            throw PerSSDError(
                .failedPrecondition,
                "what node \(node) cut of volume \(member.volume) is lost: the plugin was restarted, or staging out failed",
                remedy: "delete the group snapshot, and make another one")
        }
    }
}
