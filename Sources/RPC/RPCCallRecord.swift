/// What a server tells its observer of a call that ended: enough for one line in a log, and nothing of the messages.
public struct RPCCallRecord: Sendable {
    /// "/package.Service/Method".
    public var path: String
    /// As gRPC names it: "unix:", "ipv4:127.0.0.1:41234".
    public var peer: String
    /// From the call's arrival until its outcome was known.
    public var duration: Duration
    /// The outcome, as the client is told it. A client that went away is told nothing; then the code says so.
    public var status: RPCStatus
}
