import Errors

/// The outcome of a call that failed, as gRPC sends it: a code, a message and, where more is to be said, details.
public struct RPCStatus: Error, Sendable, Equatable, CustomStringConvertible {
    /// Numbers and names as in gRPC's status codes (grpc/statuscodes).
    public enum Code: Int32, Sendable, CaseIterable {
        case ok = 0
        case cancelled, unknown, invalidArgument, deadlineExceeded, notFound, alreadyExists, permissionDenied
        case resourceExhausted, failedPrecondition, aborted, outOfRange, unimplemented, `internal`, unavailable
        case dataLoss, unauthenticated

        /// As the specifications write it: "NOT_FOUND".
        public var name: String {
            var text = ""
            for character in String(describing: self) {
                if character.isUppercase { text.append("_") }
                text.append(character.uppercased())
            }
            return text
        }
    }

    public var code: Code
    public var message: String
    /// A serialized google.rpc.Status, or nothing.
    public var details: [UInt8]

    public init(_ code: Code, _ message: String, details: [UInt8] = []) {
        (self.code, self.message, self.details) = (code, message, details)
    }

    public var description: String { "\(code.name): \(message)" }
}

/// Keys in lowercase; those that end in "-bin" hold any bytes, others ASCII text.
public typealias RPCMetadata = [(key: String, value: [UInt8])]

/// What a handler knows of the call it serves. When the client cancels or vanishes, or the deadline passes, the handler's
/// task is cancelled.
public struct RPCContext: Sendable {
    /// "/package.Service/Method".
    public var path: String
    /// By when the client stops waiting; nil where it set no deadline.
    public var deadline: ContinuousClock.Instant?
    public var metadata: RPCMetadata
    /// As gRPC names it: "unix:", "ipv4:127.0.0.1:41234".
    public var peer: String
    /// The certificate that the client has shown, in PEM, and whose key it has; empty where the server asks for none.
    public var peerCertificate: [UInt8]

    public init(
        path: String, deadline: ContinuousClock.Instant?, metadata: RPCMetadata, peer: String,
        peerCertificate: [UInt8] = []
    ) {
        (self.path, self.deadline, self.metadata, self.peer) = (path, deadline, metadata, peer)
        self.peerCertificate = peerCertificate
    }
}

/// Where a streaming handler sends its messages; `send` waits while the client is slower.
public protocol RPCWriter: Sendable {
    func send(_ message: [UInt8]) async throws
}

/// One method of a service, in serialized messages. A handler fails by throwing an `RPCStatus`; any other error is
/// answered as UNKNOWN with no more than its type's name, so that nothing internal leaks.
public struct RPCMethod: Sendable {
    public enum Handler: Sendable {
        case unary(@Sendable (_ request: [UInt8], _ context: RPCContext) async throws -> [UInt8])
        case serverStreaming(
            @Sendable (_ request: [UInt8], _ context: RPCContext, _ responses: any RPCWriter) async throws -> Void)
        case bidirectional(
            @Sendable (
                _ requests: AsyncThrowingStream<[UInt8], any Error>, _ context: RPCContext,
                _ responses: any RPCWriter
            ) async throws -> Void)
    }

    /// "/package.Service/Method".
    public var path: String
    public var handler: Handler

    public init(_ path: String, _ handler: Handler) { (self.path, self.handler) = (path, handler) }
}

/// A client's way to a server. Failed calls throw `RPCStatus`; a cancelled task cancels its call.
public protocol RPCChannel: Sendable {
    func unary(_ path: String, _ request: [UInt8], options: RPCCallOptions) async throws -> [UInt8]
    func serverStreaming(
        _ path: String, _ request: [UInt8], options: RPCCallOptions
    ) -> AsyncThrowingStream<[UInt8], any Error>
}

public struct RPCCallOptions: Sendable {
    /// How long the whole call may take; nil for as long as it likes.
    public var timeout: Duration?
    public var metadata: RPCMetadata

    public init(timeout: Duration? = nil, metadata: RPCMetadata = []) {
        (self.timeout, self.metadata) = (timeout, metadata)
    }
}
