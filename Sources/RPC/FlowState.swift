/// What a `MessageFlow` knows: each event returns what is to be done about it, in order.
struct FlowState<Ending: Sendable> {
    typealias Receiver = CheckedContinuation<[UInt8]?, any Error>
    typealias Sender = CheckedContinuation<Void, any Error>

    enum Action {
        case read
        case write(Outgoing)
        case received(Receiver, Result<[UInt8]?, any Error>)
        case sent(Sender, Result<Void, any Error>)
        case close(Ending)
    }

    private enum Reading {
        case idle
        case underWay
        /// Read while nobody waited.
        case buffered([UInt8])
        case ended
    }

    private struct Waiting {
        let ticket: UInt64
        let outgoing: Outgoing
        let sender: Sender
    }

    private var gate = OperationGate<Ending>()
    private var reading = Reading.idle
    private var receiver: Receiver?
    private var writing = false
    /// Who waits for the write under way; nobody where it was started so, or who waited was cancelled.
    private var sender: (ticket: UInt64, sender: Sender)?
    private var queue: [Waiting] = []
    private var writingEnded = false
    private var tickets: UInt64 = 0

    private static var over: RPCStatus { RPCStatus(.cancelled, "the call is over, nothing can be sent any more") }

    // MARK: Receiving

    mutating func receive(_ continuation: Receiver) -> [Action] {
        guard receiver == nil else {
            return [.received(continuation, .failure(RPCStatus(.internal, "two tasks read one stream")))]
        }
        switch reading {
        case .buffered(let message):
            reading = .idle
            return [.received(continuation, .success(message))]
        case .ended:
            return [.received(continuation, .success(nil))]
        case .underWay:
            receiver = continuation
            return []
        case .idle:
            guard gate.enter() else { return [.received(continuation, .success(nil))] }
            receiver = continuation
            reading = .underWay
            return [.read]
        }
    }

    mutating func startReading() -> [Action] {
        guard case .idle = reading, gate.enter() else { return [] }
        reading = .underWay
        return [.read]
    }

    mutating func abandonReceive() -> [Action] {
        guard let continuation = receiver else { return [] }
        receiver = nil
        return [.received(continuation, .failure(CancellationError()))]
    }

    mutating func readEnded(_ message: [UInt8]?) -> [Action] {
        guard let continuation = receiver else {
            reading = message.map { .buffered($0) } ?? .ended
            return []
        }
        receiver = nil
        reading = message == nil ? .ended : .idle
        return [.received(continuation, .success(message))]
    }

    /// A read was handed to gRPC.
    mutating func started() -> [Action] { closing(gate.leave()) }

    // MARK: Sending

    mutating func nextTicket() -> UInt64 {
        tickets += 1
        return tickets
    }

    mutating func send(_ outgoing: Outgoing, _ ticket: UInt64, _ continuation: Sender) -> [Action] {
        guard !writingEnded else { return [.sent(continuation, .failure(Self.over))] }
        guard !writing else {
            queue.append(Waiting(ticket: ticket, outgoing: outgoing, sender: continuation))
            return []
        }
        guard gate.enter() else { return [.sent(continuation, .failure(Self.over))] }
        sender = (ticket, continuation)
        return write(outgoing)
    }

    mutating func startSending(_ outgoing: Outgoing) -> [Action] {
        guard !writing, !writingEnded, gate.enter() else { return [] }
        return write(outgoing)
    }

    mutating func abandonSend(_ ticket: UInt64) -> [Action] {
        if let waiting = sender, waiting.ticket == ticket {
            sender = nil
            return [.sent(waiting.sender, .failure(CancellationError()))]
        }
        guard let index = queue.firstIndex(where: { $0.ticket == ticket }) else { return [] }
        return [.sent(queue.remove(at: index).sender, .failure(CancellationError()))]
    }

    mutating func writeEnded(_ succeeded: Bool) -> [Action] {
        writing = false
        if !succeeded { writingEnded = true }
        var actions: [Action] = []
        if let waiting = sender {
            sender = nil
            actions.append(.sent(waiting.sender, succeeded ? .success(()) : .failure(Self.over)))
        }
        if !writingEnded, !queue.isEmpty, gate.enter() {
            let next = queue.removeFirst()
            sender = (next.ticket, next.sender)
            actions += write(next.outgoing)
        } else if writingEnded {
            actions += failQueue()
        }
        return actions + closing(gate.leave())
    }

    private mutating func write(_ outgoing: Outgoing) -> [Action] {
        writing = true
        if case .message = outgoing {} else { writingEnded = true }
        return [.write(outgoing)]
    }

    private mutating func failQueue() -> [Action] {
        defer { queue = [] }
        return queue.map { .sent($0.sender, .failure(Self.over)) }
    }

    // MARK: The end

    mutating func close(with ending: Ending) -> [Action] {
        let now = gate.close(with: ending)
        return failQueue() + closing(now)
    }

    private func closing(_ ending: Ending?) -> [Action] { ending.map { [.close($0)] } ?? [] }
}
