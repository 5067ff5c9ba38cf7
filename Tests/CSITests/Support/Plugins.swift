import Errors
import RPC

@testable import CSI

/// A plugin that implements no call of any service.
struct EmptyPlugin: IdentityService, ControllerService, GroupControllerService, SnapshotMetadataService, NodeService {}

/// Implements one call of each kind.
struct SmallPlugin: ControllerService, SnapshotMetadataService, IdentityService {
    func createVolume(
        _ request: CreateVolumeRequest, context: RPCContext
    ) async throws -> CreateVolumeResponse {
        switch request.name {
        case "missing": throw PerSSDError(.notFound, "no such thing", remedy: "make one")
        case "corrupt": throw PerSSDError(.corrupt, request.parameters["text"] ?? "")
        case "busy": throw RPCStatus(.aborted, "43%")
        case "unwritable": return CreateVolumeResponse(volume: Volume(volumeID: "a\0b"))
        default:
            return CreateVolumeResponse(volume: Volume(volumeID: "\(request.name) by \(context.peer)"))
        }
    }

    func getMetadataAllocated(
        _ request: GetMetadataAllocatedRequest, context: RPCContext,
        responses: ResponseWriter<GetMetadataAllocatedResponse>
    ) async throws {
        for index in 0..<Int64(request.maxResults) {
            try await responses.send(GetMetadataAllocatedResponse(volumeCapacityBytes: index))
        }
        if request.snapshotID == "damaged" { throw PerSSDError(.corrupt, "damaged map") }
    }
}

func everyMethod<Plugin>(of plugin: Plugin) -> [RPCMethod]
where Plugin: IdentityService & ControllerService & GroupControllerService & SnapshotMetadataService & NodeService {
    identityMethods(plugin) + controllerMethods(plugin) + groupControllerMethods(plugin)
        + snapshotMetadataMethods(plugin) + nodeMethods(plugin)
}

/// A channel straight to methods in this process.
struct LoopbackChannel: RPCChannel {
    let methods: [RPCMethod]

    private func handler(_ path: String) throws -> RPCMethod.Handler {
        guard let method = methods.first(where: { $0.path == path }) else {
            throw RPCStatus(.unimplemented, "no such method")
        }
        return method.handler
    }

    private func context(_ path: String, _ options: RPCCallOptions) -> RPCContext {
        let deadline = options.timeout.map { ContinuousClock.now + $0 }
        return RPCContext(path: path, deadline: deadline, metadata: options.metadata, peer: "loopback")
    }

    func unary(_ path: String, _ request: [UInt8], options: RPCCallOptions) async throws -> [UInt8] {
        guard case .unary(let serve) = try handler(path) else { throw RPCStatus(.internal, "not a unary method") }
        return try await serve(request, context(path, options))
    }

    func serverStreaming(
        _ path: String, _ request: [UInt8], options: RPCCallOptions
    ) -> AsyncThrowingStream<[UInt8], any Error> {
        AsyncThrowingStream { continuation in
            let task = Task {
                do {
                    guard case .serverStreaming(let serve) = try handler(path) else {
                        throw RPCStatus(.internal, "not a streaming method")
                    }
                    try await serve(request, context(path, options), LoopbackWriter(continuation: continuation))
                    continuation.finish()
                } catch {
                    continuation.finish(throwing: error)
                }
            }
            continuation.onTermination = { _ in task.cancel() }
        }
    }
}

private struct LoopbackWriter: RPCWriter {
    let continuation: AsyncThrowingStream<[UInt8], any Error>.Continuation

    func send(_ message: [UInt8]) async throws { continuation.yield(message) }
}
