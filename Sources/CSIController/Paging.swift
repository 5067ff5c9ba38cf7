import Errors

/// A page of a listing. Its token is the id of the last entry of the page before, so that it stays good when entries come
/// and go, that one included.
struct Paging<ID: Sendable> {
    /// What fits into one answer, well below gRPC's 4 MiB.
    static var largest: Int { 5000 }

    var after: ID?
    var limit: Int

    /// - Parameter parse: an id of a token; nil for text that is none.
    /// - Throws: `invalidArgument` for a negative number; `aborted` for a token that the call never gave, as the
    ///   specification has it.
    init(maxEntries: Int32, startingToken: String, call: String, parse: (String) -> ID?) throws {
        guard maxEntries >= 0 else {
            throw PerSSDError(
                .invalidArgument, "max_entries is \(maxEntries)", remedy: "give 0 for all, or a number above")
        }
        if !startingToken.isEmpty {
            after = parse(startingToken)
            guard after != nil else {
                throw PerSSDError(
                    .aborted, "starting_token '\(startingToken.prefix(100))' is none that \(call) gave",
                    remedy: "begin anew without a token")
            }
        }
        limit = maxEntries == 0 ? Self.largest : min(Int(maxEntries), Self.largest)
    }
}
