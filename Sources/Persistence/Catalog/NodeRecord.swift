import Errors
import Foundation

/// `nodes/<cluster>/<node>.json`: what a node says of itself; it writes it anew when its pools change, and at intervals.
public struct NodeRecord: Record, Equatable {
    static let format = "perssd-node"
    static let currentVersion = 1

    public var node: NodeReference
    public var pools: [PoolReport]
    /// When the node's plugin started, and when it last wrote this.
    public var startedAt: Date
    public var seenAt: Date
    /// In how many seconds at the latest it writes this again.
    public var interval: Int

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

    public init(node: NodeReference, pools: [PoolReport], startedAt: Date, seenAt: Date, interval: Int) {
        self.node = node
        self.pools = pools
        self.startedAt = startedAt
        self.seenAt = seenAt
        self.interval = interval
    }

    public func pool(_ name: String) -> PoolReport? { pools.first { $0.name == name } }

    /// Whether its plugin lives, as far as the bucket can tell: three intervals may be missed.
    public func isAlive(at now: Date) -> Bool { now.timeIntervalSince(seenAt) < Double(interval * 3) }
}
