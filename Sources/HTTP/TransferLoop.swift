import Blocking
import CCurl
import Errors
import Foundation
import Synchronization

/// The thread that moves the bytes of all transfers, around one of libcurl's multi handles.
///
/// The multi handle and everything without a lock belongs to that thread; others reach it through the inbox and
/// `curl_multi_wakeup`, the one call on the handle that any thread may make.
final class TransferLoop: @unchecked Sendable {
    private struct Inbox {
        var submitted: [Transfer] = []
        var hasCancellations = false
        var isClosed = false
    }

    private let inbox = Mutex(Inbox())
    private let multi: UnsafeMutableRawPointer
    private let maximumTransfers: Int

    private var waiting: [Transfer] = []
    private var active: [UnsafeMutableRawPointer: (handle: EasyHandle, transfer: Transfer)] = [:]
    private var spare: [EasyHandle] = []

    /// Once in a process, and before any other thread uses libcurl through this module.
    private static let isReady = curl_global_init(Int(CURL_GLOBAL_DEFAULT)) == CURLE_OK

    init(maximumTransfers: Int) throws {
        guard Self.isReady, let multi = curl_multi_init() else {
            throw PerSSDError(.internal, "libcurl does not start")
        }
        self.multi = multi
        self.maximumTransfers = maximumTransfers
        guard ccurl_multi_set_long(multi, CURLMOPT_MAXCONNECTS, maximumTransfers) == CURLM_OK else {
            throw PerSSDError(.internal, "libcurl refuses a bound of \(maximumTransfers) connections")
        }
    }

    deinit { curl_multi_cleanup(multi) }

    func start(label: String) {
        NamedThread.start(label) { self.run() }
    }

    func submit(_ transfer: Transfer) {
        inbox.withLock {
            $0.submitted.append(transfer)
            curl_multi_wakeup(multi)
        }
    }

    /// May come before the transfer is submitted, and after it has ended.
    func cancel(_ transfer: Transfer) {
        transfer.isCancelled.store(true, ordering: .sequentiallyConsistent)
        inbox.withLock {
            $0.hasCancellations = true
            curl_multi_wakeup(multi)
        }
    }

    func close() {
        inbox.withLock {
            $0.isClosed = true
            curl_multi_wakeup(multi)
        }
    }

    // MARK: - On the loop's thread

    private func run() {
        while takeFromInbox() || !waiting.isEmpty || !active.isEmpty {
            admit()
            var running: Int32 = 0
            guard curl_multi_perform(multi, &running) == CURLM_OK else {
                failAll()
                continue
            }
            let ended = collect()
            // An ended transfer makes room for one that waits; only when nothing is at hand is there time to sleep.
            if ended > 0 && !waiting.isEmpty { continue }
            if curl_multi_poll(multi, nil, 0, 1000, nil) != CURLM_OK {
                failAll()
                Thread.sleep(forTimeInterval: 0.05)
            }
        }
    }

    /// - Returns: whether more may come.
    private func takeFromInbox() -> Bool {
        let (submitted, hasCancellations, isClosed) = inbox.withLock { inbox in
            defer { (inbox.submitted, inbox.hasCancellations) = ([], false) }
            return (inbox.submitted, inbox.hasCancellations, inbox.isClosed)
        }
        waiting += submitted
        // A cancellation that came before its transfer was submitted may have been looked at already.
        if hasCancellations || submitted.contains(where: \.wasCancelled) { dropCancelled() }
        return !isClosed
    }

    private func dropCancelled() {
        for transfer in waiting where transfer.wasCancelled { end(transfer) }
        waiting.removeAll(where: \.wasCancelled)
        for (pointer, entry) in active where entry.transfer.wasCancelled {
            release(pointer)
            end(entry.transfer)
        }
    }

    private func end(_ transfer: Transfer) {
        transfer.finish(.failure(PerSSDError(.cancelled, "\(transfer.what) was cancelled")))
    }

    private func admit() {
        let count = min(waiting.count, maximumTransfers - active.count)
        guard count > 0 else { return }
        for transfer in waiting.prefix(count) {
            if transfer.wasCancelled {
                end(transfer)
                continue
            }
            do {
                let handle = try spare.popLast() ?? EasyHandle()
                try transfer.prepare(handle)
                let result = curl_multi_add_handle(multi, handle.pointer)
                guard result == CURLM_OK else {
                    throw PerSSDError(.internal, "libcurl: \(String(cString: curl_multi_strerror(result)))")
                }
                active[handle.pointer] = (handle, transfer)
            } catch {
                transfer.finish(.failure(error))
            }
        }
        waiting.removeFirst(count)
    }

    /// - Returns: how many transfers ended.
    private func collect() -> Int {
        var ended = 0
        var left: Int32 = 0
        while let message = curl_multi_info_read(multi, &left) {
            guard message.pointee.msg == CURLMSG_DONE, let pointer = message.pointee.easy_handle else { continue }
            let result = ccurl_message_result(message)
            guard let entry = active[pointer] else { continue }
            let outcome = entry.transfer.outcome(result)
            release(pointer, isReusable: result == CURLE_OK)
            entry.transfer.finish(outcome)
            ended += 1
        }
        return ended
    }

    /// Takes a transfer off the multi handle, which closes the connection of one that has not ended.
    ///
    /// - Parameter isReusable: a handle whose transfer failed early keeps its buffers, and then refuses to be set up anew.
    private func release(_ pointer: UnsafeMutableRawPointer, isReusable: Bool = false) {
        guard let entry = active.removeValue(forKey: pointer) else { return }
        curl_multi_remove_handle(multi, pointer)
        guard isReusable else { return }
        entry.handle.reset()
        spare.append(entry.handle)
    }

    private func failAll() {
        for (pointer, entry) in active {
            release(pointer)
            entry.transfer.finish(.failure(PerSSDError(.internal, "\(entry.transfer.what): libcurl failed")))
        }
    }
}
