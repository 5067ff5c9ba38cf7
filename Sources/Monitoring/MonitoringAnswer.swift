import FlyingFox
import Foundation

/// What a path answers.
public struct MonitoringAnswer: Sendable {
    /// Answered as 200, or else as 503.
    public var isWell: Bool
    public var contentType: String
    public var body: String

    public init(isWell: Bool, contentType: String = "text/plain; charset=utf-8", body: String) {
        (self.isWell, self.contentType, self.body) = (isWell, contentType, body)
    }

    /// One line for people.
    public init(isWell: Bool, text: String) { self.init(isWell: isWell, body: text + "\n") }
}

/// Finds the answer to a request: GET and HEAD at a few paths.
struct MonitoringHandler: HTTPHandler {
    let paths: [String: MonitoringServer.Path]
    /// How long a path may take.
    let time: Duration

    func handleRequest(_ request: HTTPRequest) async -> HTTPResponse {
        let (status, answer) = await answer(request)
        let bytes = Data(answer.body.utf8)
        // One request a connection: a client that kept it would lose it between two scrapes.
        var headers: HTTPHeaders = [
            .contentType: answer.contentType, .contentLength: "\(bytes.count)", .connection: "close",
        ]
        if status == .methodNotAllowed { headers[HTTPHeader("Allow")] = "GET, HEAD" }
        return HTTPResponse(statusCode: status, headers: headers, body: request.method == .HEAD ? Data() : bytes)
    }

    private func answer(_ request: HTTPRequest) async -> (HTTPStatusCode, MonitoringAnswer) {
        guard let path = paths[request.path] else {
            let known = paths.keys.sorted().joined(separator: ", ")
            return (.notFound, MonitoringAnswer(isWell: false, text: "not found; there are \(known)"))
        }
        guard request.method == .GET || request.method == .HEAD else {
            return (.methodNotAllowed, MonitoringAnswer(isWell: false, text: "GET and HEAD only"))
        }
        let answer = await answerInTime(path)
        return (answer.isWell ? .ok : .serviceUnavailable, answer)
    }

    /// The server's own time limit, and its end, wait for work that does not heed cancellation; this lets it go on by itself.
    private func answerInTime(_ path: @escaping MonitoringServer.Path) async -> MonitoringAnswer {
        let (answers, continuation) = AsyncStream<MonitoringAnswer>.makeStream()
        Task { continuation.yield(await path()) }
        let timer = Task { [time] in
            try? await Task.sleep(for: time)
            continuation.finish()
        }
        defer { timer.cancel() }
        for await answer in answers { return answer }
        return MonitoringAnswer(isWell: false, text: "no answer within \(time.components.seconds) s")
    }
}
