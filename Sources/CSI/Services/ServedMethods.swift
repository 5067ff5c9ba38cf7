import RPC

/// Where a streaming call of a service sends its responses; `send` waits while the client is slower.
public struct ResponseWriter<Response: CSIMessage>: Sendable {
    private let sendBytes: @Sendable ([UInt8]) async throws -> Void

    /// Each response goes to the writer, serialized.
    public init(_ writer: any RPCWriter) {
        sendBytes = { try await writer.send($0) }
    }

    public func send(_ response: Response) async throws {
        try await sendBytes(try response.encode())
    }
}

/// A call with one response: reads the request, serves it, and writes the response. All errors become statuses.
func unaryMethod<Request: CSIMessage, Response: CSIMessage>(
    _ path: String, _ observer: (any CallObserver)?,
    _ serve: @escaping @Sendable (Request, RPCContext) async throws -> Response
) -> RPCMethod {
    RPCMethod(
        path,
        .unary { bytes, context in
            try await observed(bytes, context, observer) { try await serve($0, context).encode() }
        })
}

/// A call with a stream of responses.
func serverStreamingMethod<Request: CSIMessage, Response: CSIMessage>(
    _ path: String, _ observer: (any CallObserver)?,
    _ serve: @escaping @Sendable (Request, RPCContext, ResponseWriter<Response>) async throws -> Void
) -> RPCMethod {
    RPCMethod(
        path,
        .serverStreaming { bytes, context, writer in
            try await observed(bytes, context, observer) { try await serve($0, context, ResponseWriter(writer)) }
        })
}

private func observed<Request: CSIMessage, Result>(
    _ bytes: [UInt8], _ context: RPCContext, _ observer: (any CallObserver)?,
    _ serve: (Request) async throws -> Result
) async throws(RPCStatus) -> Result {
    let start = ContinuousClock.now
    var call = ServedCall(request: nil, context: context)
    do {
        let request = try Request.decode(bytes)
        call = ServedCall(request: request, context: context)
        observer?.callBegan(call)
        let result = try await serve(request)
        observer?.callEnded(call, status: nil, after: .now - start)
        return result
    } catch {
        let status = RPCStatus(error)
        observer?.callEnded(call, status: status, after: .now - start)
        throw status
    }
}
