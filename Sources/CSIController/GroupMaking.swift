import Agents
import Errors
import Persistence

/// Has all members of a group cut: those that pods write are held still on their nodes until the last of them is cut.
struct GroupMaking: Sendable {
    let catalog: Catalog
    let agents: any NodeAgents
    let begun: GroupCut
    let deadline: ContinuousClock.Instant?

    /// All nodes have to hold within this time: they go on by themselves a little later.
    private static let patience = Duration.seconds(6)

    /// - Throws: why there is no group; nothing of it remains then.
    func run() async throws -> GroupSnapshotRecord {
        do {
            try await everywhere(.prepare, until: deadline)
            let limit = ContinuousClock.now + Self.patience
            try await everywhere(.hold, until: min(deadline ?? limit, limit))
            let cutAt = catalog.time
            try await catalog.requireUnwritten(begun)
            // Where one of them went on before its time, it says so now.
            try await everywhere(.release, until: deadline)
            return try await catalog.completeGroup(begun, cutAt: cutAt)
        } catch {
            // Whatever has become of the caller: pods must not stand still for longer than they have to.
            if let made = await Task(operation: giveUp).value { return made }
            throw error
        }
    }

    /// - Returns: the group where it was made after all.
    @Sendable private func giveUp() async -> GroupSnapshotRecord? {
        try? await everywhere(.abandon, until: .now + Self.patience)
        // What may be left where the store fails, too, nobody sees; the next try of the name clears it away.
        return try? await catalog.abandonGroup(begun)
    }

    /// Asks all nodes at once.
    ///
    /// - Throws: the first error, once all have answered.
    private func everywhere(_ step: GroupCutStep, until deadline: ContinuousClock.Instant?) async throws {
        let record = begun.record
        let failures = await withTaskGroup(of: PerSSDError?.self) { tasks in
            for node in record.nodes {
                tasks.addTask {
                    do {
                        try await agents.cut(step, of: record.group, record.incarnation, on: node, until: deadline)
                        return nil
                    } catch {
                        return PerSSDError(wrapping: error)
                    }
                }
            }
            return await tasks.reduce(into: [PerSSDError]()) { if let error = $1 { $0.append(error) } }
        }
        if let failure = failures.first { throw failure }
    }
}
