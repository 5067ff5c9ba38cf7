import RPC

/// Is told of every call that a service serves, for logs and metrics. Both are called on the call's own task, so they
/// must not block.
public protocol CallObserver: Sendable {
    /// The request was read and the service is about to serve it.
    func callBegan(_ call: ServedCall)
    /// Also called where the request could not be read. The status is nil where the call succeeded.
    func callEnded(_ call: ServedCall, status: RPCStatus?, after duration: Duration)
}

/// A call that a service serves. Its description has no secrets in it.
public struct ServedCall: Sendable, CustomStringConvertible {
    /// Nil where the request could not be read.
    public let request: (any CSIMessage)?
    public let context: RPCContext

    /// "CreateVolume".
    public var method: String { shortMethodName(context.path) }

    /// The call on one line, at most about 2,000 characters: `CreateVolume CreateVolumeRequest(name: "pvc-1")`.
    public var description: String {
        guard let request else { return "\(method) (request not readable)" }
        return "\(method) \(request.description(limit: 2000))"
    }
}

/// "/csi.v1.Controller/CreateVolume" as "CreateVolume"; what has no slash stays as it is.
public func shortMethodName(_ path: String) -> String {
    String(path.split(separator: "/").last ?? Substring(path))
}
