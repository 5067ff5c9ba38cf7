import Errors
import LocalVolumes

/// The pools of a node, by their names.
struct NodePools: Sendable {
    /// In the order of the configuration.
    let all: [any VolumePool]

    /// - Throws: `invalidArgument` where there is none, or two have the same name.
    init(_ pools: [any VolumePool]) throws {
        guard !pools.isEmpty else {
            throw PerSSDError(
                .invalidArgument, "a node needs a pool, and none is given",
                remedy: "give one, such as --pool directory=/var/lib/perssd/pool,size=100GiB")
        }
        var names: Set<String> = []
        for pool in pools where !names.insert(pool.name).inserted {
            throw PerSSDError(
                .invalidArgument, "two pools of this node have the name '\(pool.name)'", remedy: "rename one of them")
        }
        all = pools
    }

    subscript(name: String) -> (any VolumePool)? { all.first { $0.name == name } }

    /// - Throws: `failedPrecondition` where the node has no such pool.
    func required(_ name: String, for volume: String) throws -> any VolumePool {
        if let pool = self[name] { return pool }
        throw PerSSDError(
            .failedPrecondition,
            "volume \(volume) belongs to pool '\(name)', and this node has "
                + all.map { "'\($0.name)'" }.joined(separator: ", "),
            remedy: "add the pool to this node's configuration, or use the volume on a node that has it")
    }

    /// That each of them can be used.
    func check() async throws {
        for pool in all { try await pool.check() }
    }
}
