import Errors
import Foundation

/// What a program on the node asks of the node's plugin, over a socket that only root may use. One message is one JSON object,
/// and keys that a process does not know are ignored.
struct FlushRequest: Codable, Equatable, Sendable {
    static let path = "/perssd.control.v1.Control/Flush"

    /// nil for as long as it takes.
    var deadlineSeconds: Double?
}

enum ControlCoding {
    static func encode(_ message: some Encodable) throws -> [UInt8] { Array(try JSONEncoder().encode(message)) }

    /// - Throws: `invalidArgument` where the bytes are no such message.
    static func decode<Message: Decodable>(_ type: Message.Type, _ bytes: [UInt8]) throws -> Message {
        do {
            return try JSONDecoder().decode(type, from: Data(bytes))
        } catch {
            throw PerSSDError(.invalidArgument, "the message is not one of the control service", cause: error)
        }
    }
}

/// How long a flush may be told to take.
public enum FlushDeadline {
    /// A termination comes within minutes; a drain within hours.
    public static let range: ClosedRange<Duration> = .seconds(1)...(.seconds(7 * 86400))
}
