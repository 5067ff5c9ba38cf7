import Digests
import Errors
import Foundation

/// Puts pieces into packs, and packs into the store while the next one fills.
///
/// Worker threads append; a pack that is full goes to an upload task. There are only so many packs' worth of memory: who
/// appends when all are under way waits for one to be confirmed, so a slow store slows the reading instead of filling memory.
final class PackUploader: @unchecked Sendable {
    private struct FullPack: Sendable {
        var id: PackID
        var bytes: [UInt8]
    }

    private let store: any ObjectStore
    private let lineage: String
    private let targetBytes: Int
    private let pacer: Pacer?
    private let meter: TransferMeter
    private let full: AsyncStream<FullPack>
    private let fullEnd: AsyncStream<FullPack>.Continuation

    /// Guards what follows.
    private let condition = NSCondition()
    private var filling: PackBuilder?
    private var freeBuffers: [[UInt8]]
    private var unconfirmed = 0
    private var written: [PackID] = []
    private var failure: (any Error)?

    /// - Parameter buffers: packs in memory at once, the one that fills included.
    init(
        store: any ObjectStore, lineage: String, targetBytes: Int, buffers: Int, pacer: Pacer? = nil,
        meter: TransferMeter
    ) {
        self.store = store
        self.lineage = lineage
        self.targetBytes = targetBytes
        self.pacer = pacer
        self.meter = meter
        freeBuffers = Array(repeating: [], count: buffers)
        (full, fullEnd) = AsyncStream.makeStream()
    }

    /// Stores a piece. It is in the store for certain only when `uploading` has returned. Blocks; for worker threads.
    ///
    /// - Throws: what an upload failed with, or `CancellationError`.
    func append(
        _ stored: UnsafeRawBufferPointer, kind: PieceKind, compression: Compression, plainLength: Int, digest: Digest
    ) throws -> Piece {
        condition.lock()
        defer { condition.unlock() }
        while true {
            if let failure { throw failure }
            if let pack = filling, !pack.isEmpty, pack.size(withPieceOf: stored.count) > targetBytes { seal() }
            if filling != nil { break }
            if var buffer = freeBuffers.popLast() {
                filling = PackBuilder(lineage: lineage, storage: &buffer, capacity: targetBytes)
            } else {
                condition.wait()
            }
        }
        return filling!.append(
            stored, kind: kind, compression: compression, plainLength: plainLength, digest: digest)
    }

    /// Runs `body`, whose threads append, and the uploads beside it.
    ///
    /// - Returns: what `body` returns, once every pack is confirmed.
    /// - Throws: the first error of an upload or of the body. Nothing is left running.
    func uploading<Value: Sendable>(_ body: () async throws -> Value) async throws -> Value {
        try await withTaskCancellationHandler {
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { await self.uploadFullPacks() }
                do {
                    let value = try await body()
                    finish()
                    try await group.waitForAll()
                    try confirmAll()
                    return value
                } catch {
                    fail(error)
                    group.cancelAll()
                    throw condition.withLock { failure } ?? error
                }
            }
        } onCancel: {
            fail(CancellationError())
        }
    }

    /// The packs that went to the store.
    var packs: [PackID] { condition.withLock { written } }

    /// With the lock held: the pack that fills is full.
    private func seal() {
        guard var pack = filling.take() else { return }
        unconfirmed += 1
        written.append(pack.id)
        fullEnd.yield(FullPack(id: pack.id, bytes: pack.finish()))
    }

    private func finish() {
        condition.withLock { seal() }
        fullEnd.finish()
    }

    private func fail(_ error: any Error) {
        condition.lock()
        if failure == nil { failure = error }
        condition.broadcast()
        condition.unlock()
        fullEnd.finish()
    }

    private func confirmAll() throws {
        try condition.withLock {
            if let failure { throw failure }
            guard unconfirmed == 0 else { throw CancellationError() }
        }
    }

    private func uploadFullPacks() async {
        await withTaskGroup(of: Void.self) { group in
            for await pack in full {
                group.addTask { await self.upload(pack) }
            }
        }
    }

    private func upload(_ pack: consuming FullPack) async {
        do {
            let key = try pack.id.key(lineage: lineage)
            try await pacer?.pass(pack.bytes.count)
            _ = try await store.write(key, pack.bytes, condition: .absent)
            let count = UInt64(pack.bytes.count)
            meter.count {
                $0.writeRequests += 1
                $0.packsWritten += 1
                $0.sentBytes += count
            }
            confirm(pack.bytes)
        } catch {
            fail(error)
        }
    }

    private func confirm(_ buffer: consuming [UInt8]) {
        condition.lock()
        unconfirmed -= 1
        freeBuffers.append(buffer)
        condition.broadcast()
        condition.unlock()
    }
}
