import Errors
import Foundation
import LocalVolumes
import Logging
import Persistence

/// What all of a node's volumes share.
struct NodeEnvironment: Sendable {
    var node: NodeReference
    var catalog: Catalog
    var home: HomeStore
    var pools: NodePools
    var publisher: Publisher
    var fileSystems: FileSystems
    var useFiles: VolumeUseFiles
    var logger: Logger
    /// How many transfers run at once; each has its own bound of memory.
    var transfers: Permits
    /// Keeps all stage-outs together to what the node may send.
    var pacer: Pacer
    var speed = TransferSpeed()
    /// Evicts idle local copies until a pool has this many bytes free; throws `resourceExhausted` where it cannot.
    var makeRoom: @Sendable (_ bytes: UInt64, _ pool: any VolumePool) async throws -> Void
    /// Called after what a pool has free has changed.
    var poolChanged: @Sendable () -> Void
}
