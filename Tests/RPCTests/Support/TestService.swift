import RPC

/// A service that does whatever the tests need, in plain bytes.
enum TestService {
    struct Secret: Error, CustomStringConvertible {
        let description = "password=hunter2"
    }

    static let details: [UInt8] = [8, 5, 18, 3, 0, 0xFF, 0x80]
    static let awkwardMessage = "größe: 100% of »vol\n1« \t日本語 🚀"

    static func methods(_ journal: Journal = Journal()) -> [RPCMethod] {
        [
            RPCMethod("/test.Service/Echo", .unary { request, _ in request }),
            RPCMethod(
                "/test.Service/Fail",
                .unary { _, _ in throw RPCStatus(.failedPrecondition, awkwardMessage, details: details) }),
            RPCMethod(
                "/test.Service/FailWith",
                .unary { request, _ in throw RPCStatus(.notFound, String(decoding: request, as: UTF8.self)) }),
            RPCMethod("/test.Service/Leak", .unary { _, _ in throw Secret() }),
            RPCMethod("/test.Service/FailWithOK", .unary { _, _ in throw RPCStatus(.ok, "fine") }),
            RPCMethod(
                "/test.Service/Metadata",
                .unary { _, context in
                    let lines = context.metadata.map { "\($0.key)=\($0.value.map(String.init).joined(separator: ","))" }
                    return Array(lines.joined(separator: "\n").utf8)
                }),
            RPCMethod("/test.Service/Certificate", .unary { _, context in context.peerCertificate }),
            RPCMethod(
                "/test.Service/Remaining",
                .unary { _, context in
                    guard let deadline = context.deadline else { return Array("none".utf8) }
                    return Array("\((deadline - .now).components.seconds)".utf8)
                }),
            RPCMethod(
                "/test.Service/Zeros",
                .unary { request, _ in
                    [UInt8](repeating: 0, count: Int(String(decoding: request, as: UTF8.self)) ?? 0)
                }),
            // Sleeps until it is cancelled.
            RPCMethod(
                "/test.Service/Hang",
                .unary { request, _ in
                    journal.note("hang began")
                    do {
                        try await Task.sleep(for: .seconds(600))
                        return request
                    } catch {
                        journal.note("hang cancelled")
                        throw error
                    }
                }),
            // Works for the milliseconds that the request says.
            RPCMethod(
                "/test.Service/Work",
                .unary { request, _ in
                    journal.note("work began")
                    try await Task.sleep(for: .milliseconds(Int(String(decoding: request, as: UTF8.self)) ?? 0))
                    journal.note("work done")
                    return request
                }),
            // Answers when the test notes so.
            RPCMethod(
                "/test.Service/Gate",
                .unary { request, _ in
                    journal.note("gate reached")
                    _ = await journal.has("gate opened", within: .seconds(60))
                    return request
                }),
            // As many messages as the request says, each with its number.
            RPCMethod(
                "/test.Service/Count",
                .serverStreaming { request, _, responses in
                    for number in 0..<(Int(String(decoding: request, as: UTF8.self)) ?? 0) {
                        try await responses.send(Array("\(number)".utf8))
                    }
                }),
            // Sends 64 KiB again and again until it can't.
            RPCMethod(
                "/test.Service/Flood",
                .serverStreaming { _, _, responses in
                    let message = [UInt8](repeating: 7, count: 64 << 10)
                    do {
                        while true {
                            try await responses.send(message)
                            journal.note("sent")
                        }
                    } catch {
                        journal.note("flood ended")
                        throw error
                    }
                }),
            RPCMethod(
                "/test.Service/CountThenFail",
                .serverStreaming { _, _, responses in
                    try await responses.send([1])
                    try await responses.send([2])
                    throw RPCStatus(.aborted, "half-way", details: details)
                }),
            RPCMethod(
                "/test.Service/Chat",
                .bidirectional { requests, _, responses in
                    do {
                        for try await request in requests { try await responses.send(request) }
                        journal.note("chat ended")
                    } catch {
                        journal.note("chat broken")
                        throw error
                    }
                }),
        ]
    }
}

extension RPCChannel {
    /// A call without options, in text.
    func call(_ method: String, _ request: String = "", _ options: RPCCallOptions = RPCCallOptions()) async throws
        -> String
    {
        let response = try await unary("/test.Service/\(method)", Array(request.utf8), options: options)
        return String(decoding: response, as: UTF8.self)
    }

    /// The status that a call failed with; nil when it succeeded.
    func failure(
        _ method: String, _ request: String = "", _ options: RPCCallOptions = RPCCallOptions()
    ) async throws -> RPCStatus? {
        do {
            _ = try await call(method, request, options)
            return nil
        } catch let status as RPCStatus {
            return status
        }
    }

    /// All messages of a streaming call, in text.
    func collect(_ method: String, _ request: String = "") async throws -> [String] {
        var messages: [String] = []
        let stream = serverStreaming("/test.Service/\(method)", Array(request.utf8), options: RPCCallOptions())
        for try await message in stream { messages.append(String(decoding: message, as: UTF8.self)) }
        return messages
    }
}
