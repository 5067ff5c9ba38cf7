import Errors
import LocalVolumes

/// A pool that the node is to have, and has not, as the machine lacks what it is made of.
public struct MissingPool: Sendable {
    public var name: String
    /// What is missing, and what to do.
    public var reason: PerSSDError

    public init(name: String, reason: PerSSDError) { (self.name, self.reason) = (name, reason) }
}

/// The pools of a node, by their names.
struct NodePools: Sendable {
    /// In the order of the configuration.
    let all: [any VolumePool]
    /// Those that the node does without. Nothing is known of what they may hold.
    let missing: [MissingPool]

    /// - Throws: `invalidArgument` where there is none, or two have the same name.
    init(_ pools: [any VolumePool], missing: [MissingPool] = []) throws {
        guard !pools.isEmpty || !missing.isEmpty else {
            throw PerSSDError(
                .invalidArgument, "a node needs a pool, and none is given",
                remedy: "give one, such as --pool directory=/var/lib/perssd/pool,size=100GiB")
        }
        var names: Set<String> = []
        for name in pools.map(\.name) + missing.map(\.name) where !names.insert(name).inserted {
            throw PerSSDError(
                .invalidArgument, "two pools of this node have the name '\(name)'", remedy: "rename one of them")
        }
        (all, self.missing) = (pools, missing)
    }

    subscript(name: String) -> (any VolumePool)? { all.first { $0.name == name } }

    /// - Throws: `failedPrecondition` where the node has no such pool.
    func required(_ name: String, for volume: String) throws -> any VolumePool {
        if let pool = self[name] { return pool }
        try requireNotMissing(name, for: volume)
        throw PerSSDError(
            .failedPrecondition,
            "volume \(volume) belongs to pool '\(name)', and this node has "
                + (all.isEmpty ? "none" : all.map { "'\($0.name)'" }.joined(separator: ", ")),
            remedy: "add the pool to this node's configuration, or use the volume on a node that has it")
    }

    /// What a missing pool may hold of a volume must not be taken for lost, nor be replaced by what is older.
    ///
    /// - Throws: `failedPrecondition`, with what is missing, where the node is to have the pool and has not.
    func requireNotMissing(_ name: String, for volume: String) throws {
        guard let pool = missing.first(where: { $0.name == name }) else { return }
        throw PerSSDError(
            .failedPrecondition, "volume \(volume) belongs to pool '\(name)', which this node lacks",
            remedy: "use the volume on a node that has the pool, or give this node what it lacks", cause: pool.reason)
    }

    /// That each of them can be used. What is missing is no reason to start the process anew.
    func check() async throws {
        for pool in all { try await pool.check() }
    }
}
