import Foundation
import HTTP

/// What came of a request that was answered.
struct APIAnswer: Sendable {
    var status: Int
    /// What the server says of a failure; empty where it says nothing.
    var failure: StatusObject
    /// "Retry-After", in whole seconds, as Kubernetes gives it.
    var demandedDelay: Duration?

    init(_ response: HTTPResponse) {
        status = response.status
        failure = (try? JSONDecoder().decode(StatusObject.self, from: Data(response.body))) ?? StatusObject()
        demandedDelay = response.headers["Retry-After"].flatMap { Int($0) }
            .flatMap { (0...3600).contains($0) ? .seconds($0) : nil }
    }

    /// The object `Status`, as far as it matters here.
    struct StatusObject: Decodable, Sendable, Equatable {
        var message: String?
        var reason: String?
        var details: Details?

        struct Details: Decodable, Sendable, Equatable {
            var kind: String?
            var causes: [Cause]?
        }

        struct Cause: Decodable, Sendable, Equatable {
            var reason: String?
        }
    }

    enum Meaning: Sendable, Equatable {
        case done
        /// What was made is there already: an attempt whose answer got lost has made it.
        case exists
        /// What was to be changed has gone.
        case gone
        /// This one cannot be, whoever asks; others may.
        case refused
        /// The server does not know the token, or not any more.
        case unknownCaller
        /// Nothing can be posted with these rights, or to this server.
        case forbidden
        /// It may be otherwise in a moment.
        case busy
    }

    /// - Parameter isChange: of something that was there.
    func meaning(isChange: Bool) -> Meaning {
        switch status {
        case 200..<300: .done
        case 401: .unknownCaller
        // In a namespace that is going away nothing is made any more.
        case 403:
            failure.details?.causes?.contains { $0.reason == "NamespaceTerminating" } == true ? .refused : .forbidden
        case 404 where failure.details?.kind == "namespaces": .refused
        case 404: isChange ? .gone : .forbidden
        // Somebody else changed it in the same moment.
        case 409: isChange ? .busy : .exists
        case 408, 429, 500...: .busy
        default: .refused
        }
    }
}
