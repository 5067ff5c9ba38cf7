import Errors
import RPC

func response<Request: CSIMessage, Response: CSIMessage>(
    on channel: any RPCChannel, _ path: String, _ request: Request, _ options: RPCCallOptions
) async throws(RPCStatus) -> Response {
    do {
        return try decodedResponse(try await channel.unary(path, try request.encode(), options: options), path)
    } catch {
        throw RPCStatus(error)
    }
}

/// A request that can't be written fails the stream at its first element.
func responses<Request: CSIMessage, Response: CSIMessage>(
    on channel: any RPCChannel, _ path: String, _ request: Request, _ options: RPCCallOptions
) -> AsyncThrowingMapSequence<AsyncThrowingStream<[UInt8], any Error>, Response> {
    let stream: AsyncThrowingStream<[UInt8], any Error>
    do {
        stream = channel.serverStreaming(path, try request.encode(), options: options)
    } catch {
        stream = AsyncThrowingStream { throw RPCStatus(error) }
    }
    return stream.map { try decodedResponse($0, path) }
}

/// A server that sends what can't be read is at fault, not the caller's arguments.
private func decodedResponse<Response: CSIMessage>(_ bytes: [UInt8], _ path: String) throws -> Response {
    do {
        return try Response.decode(bytes)
    } catch {
        throw RPCStatus(error.during("cannot read the response of \(shortMethodName(path))", code: .internal))
    }
}
