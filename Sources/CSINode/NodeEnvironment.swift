import Errors
import Foundation
import LocalVolumes
import Logging
import Persistence
import VolumeEvents

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
    /// Where users of volumes hear of them.
    var events = EventSink.none
    /// When work that takes long is told of for the first time, and how often from then on.
    var progressTold = (after: Duration.seconds(30), every: Duration.seconds(60))
}
