import Errors
import Foundation

/// What the controller asks of a node. It names records and holds no facts: node and controller both read those in the
/// bucket, so that neither has to believe the other.
///
/// The service is PerSSD's own, between processes of one version or its neighbours: one message is one JSON object, and keys
/// that a process does not know are ignored.
struct DeliverRequest: Codable, Equatable, Sendable {
    static let path = "/perssd.agent.v1.Agent/Deliver"

    /// A snapshot's id.
    var snapshot: String
}

/// The record of a volume has changed.
struct RereadRequest: Codable, Equatable, Sendable {
    static let path = "/perssd.agent.v1.Agent/Reread"

    /// A volume's id.
    var volume: String
}

/// Somebody else wants a volume.
struct HandOverRequest: Codable, Equatable, Sendable {
    static let path = "/perssd.agent.v1.Agent/HandOver"

    /// A volume's id.
    var volume: String
}

/// One step of a group snapshot.
struct GroupCutRequest: Codable, Equatable, Sendable {
    static let path = "/perssd.agent.v1.Agent/CutGroup"

    /// A group snapshot's id, and which try to make it.
    var group: String
    var incarnation: String
    /// A `GroupCutStep`.
    var step: String
}

/// What a call answers that has nothing to say but that it was done.
struct Done: Codable, Equatable {}

enum AgentCoding {
    static func encode(_ message: some Encodable) throws -> [UInt8] { Array(try JSONEncoder().encode(message)) }

    /// - Throws: `invalidArgument` where the bytes are no such message.
    static func decode<Message: Decodable>(_ type: Message.Type, _ bytes: [UInt8]) throws -> Message {
        do {
            return try JSONDecoder().decode(type, from: Data(bytes))
        } catch {
            throw PerSSDError(.invalidArgument, "the message is not one of this service", cause: error)
        }
    }
}
