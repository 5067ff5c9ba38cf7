import Errors
import Foundation

/// `nodes/<cluster>/<node>.json`: what a node says of itself; it writes it anew when its pools change, and at intervals.
public struct NodeRecord: Record, LivingRecord, Equatable {
    static let format = "perssd-node"
    static let currentVersion = 1

    public var node: NodeReference
    public var pools: [PoolReport]
    /// When the node's plugin started, and when it last wrote this.
    public var startedAt: Date
    public var seenAt: Date
    /// In how many seconds at the latest it writes this again.
    public var interval: Int
    /// Where the controller reaches it; nil for a node that has no agent.
    public var agent: Agent?

    /// A node's agent, and how the controller knows it.
    public struct Agent: Sendable, Codable, Hashable {
        public var host: String
        public var port: UInt16
        /// The certificate that it shows, in PEM. Its key is made at the plugin's start, and never leaves it.
        public var certificate: String

        public init(host: String, port: UInt16, certificate: String) {
            (self.host, self.port, self.certificate) = (host, port, certificate)
        }
    }

    /// One pool, in bytes of volume capacity.
    public struct PoolReport: Sendable, Codable, Hashable {
        public var name: String
        public var totalBytes: UInt64
        public var freeBytes: UInt64
        /// Held by clean local copies that nobody uses.
        public var evictableBytes: UInt64

        public init(name: String, totalBytes: UInt64, freeBytes: UInt64, evictableBytes: UInt64) {
            self.name = name
            self.totalBytes = totalBytes
            self.freeBytes = freeBytes
            self.evictableBytes = evictableBytes
        }

        /// What a new local copy can have.
        public var availableBytes: UInt64 { freeBytes + evictableBytes }
    }

    public init(
        node: NodeReference, pools: [PoolReport], startedAt: Date, seenAt: Date, interval: Int, agent: Agent? = nil
    ) {
        self.node = node
        self.pools = pools
        self.startedAt = startedAt
        self.seenAt = seenAt
        self.interval = interval
        self.agent = agent
    }

    public func pool(_ name: String) -> PoolReport? { pools.first { $0.name == name } }
}
