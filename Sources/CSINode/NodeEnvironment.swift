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
    /// Evicts idle local copies until a pool has this many bytes free; throws `resourceExhausted` where it cannot.
    var makeRoom: @Sendable (_ bytes: UInt64, _ pool: any VolumePool) async throws -> Void
    /// Called after what a pool has free has changed.
    var poolChanged: @Sendable () -> Void
    /// Where users of volumes hear of them.
    var events = EventSink.none
    /// When work that takes long is told of for the first time, and how often from then on.
    var progressTold = (after: Duration.seconds(30), every: Duration.seconds(60))
}

/// Lets a number of pieces of work in at a time, first come first served.
actor Permits {
    private var free: Int
    private var waiting: [(id: Int, continuation: CheckedContinuation<Void, any Error>)] = []
    private var nextID = 0

    init(_ count: Int) { free = count }

    /// Runs `work` once there is room for it.
    ///
    /// - Throws: `CancellationError` where the task is cancelled while it waits.
    nonisolated func run<Value: Sendable>(_ work: @Sendable () async throws -> Value) async throws -> Value {
        try await enter()
        do {
            let value = try await work()
            await leave()
            return value
        } catch {
            await leave()
            throw error
        }
    }

    private func enter() async throws {
        try Task.checkCancellation()
        if free > 0 {
            free -= 1
            return
        }
        let id = nextID
        nextID += 1
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { waiting.append((id, $0)) }
        } onCancel: {
            Task { await self.giveUp(id) }
        }
    }

    private func giveUp(_ id: Int) {
        guard let index = waiting.firstIndex(where: { $0.id == id }) else { return }
        waiting.remove(at: index).continuation.resume(throwing: CancellationError())
    }

    private func leave() {
        if waiting.isEmpty {
            free += 1
        } else {
            waiting.removeFirst().continuation.resume()
        }
    }
}
