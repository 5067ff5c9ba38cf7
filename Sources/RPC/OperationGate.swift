/// Lets operations on a handle run side by side until it is closed with an ending, and hands that ending out exactly once,
/// when no operation is under way any more: only then may the handle be finished or freed.
struct OperationGate<Ending> {
    private var underWay = 0
    private var ending: Ending?
    private(set) var isClosed = false

    init() {}

    /// Begins an operation; false when the gate is closed, and then the handle must not be touched.
    mutating func enter() -> Bool {
        guard !isClosed else { return false }
        underWay += 1
        return true
    }

    /// Ends an operation. What it returns must be carried out by the caller.
    mutating func leave() -> Ending? {
        underWay -= 1
        return underWay == 0 ? takeEnding() : nil
    }

    /// Lets no further operation in. The first ending counts. What it returns must be carried out by the caller.
    mutating func close(with ending: Ending) -> Ending? {
        guard !isClosed else { return nil }
        isClosed = true
        self.ending = ending
        return underWay == 0 ? takeEnding() : nil
    }

    private mutating func takeEnding() -> Ending? {
        defer { ending = nil }
        return ending
    }
}
