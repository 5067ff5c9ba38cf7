import Foundation

@testable import CSI

/// A message as a tree of names and values for JSON, as Tests/CSITests/Python/exchange.py makes it, too.
func tree(of value: Any) -> Any {
    switch value {
    case let value as Redacted: return value.description
    case let value as any CSIMessage: return fields(of: Mirror(reflecting: value))
    case let value as any CSIEnum: return Int(value.rawValue)
    case let value as Timestamp: return fields(of: Mirror(reflecting: value))
    case let value as Int32: return Int(value)
    case is String, is Bool, is Int64, is [String: String]: return value
    default: break
    }
    let mirror = Mirror(reflecting: value)
    switch mirror.displayStyle {
    case .optional: return mirror.children.first.map { tree(of: $0.value) } ?? NSNull()
    case .collection: return mirror.children.map { tree(of: $0.value) }
    case .enum: return fields(of: mirror)
    default: return "no tree for a value of type \(type(of: value))"
    }
}

private func fields(of mirror: Mirror) -> [String: Any] {
    Dictionary(uniqueKeysWithValues: mirror.children.map { ($0.label ?? "", tree(of: $0.value)) })
}

/// Lines of JSON with type, bytes and tree, for exchange.py.
struct ExchangedMessage {
    let type: any CSIMessage.Type
    let bytes: [UInt8]

    static func read(_ file: URL) throws -> [ExchangedMessage] {
        let types = Dictionary(uniqueKeysWithValues: allMessages.map { ($0.fullName, $0) })
        return try String(contentsOf: file, encoding: .utf8).split(separator: "\n").map { line in
            let object = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
            guard let name = object?["type"] as? String, let hex = object?["bytes"] as? String, let type = types[name]
            else { throw TestFailure("not a message: \(line)") }
            return ExchangedMessage(type: type, bytes: bytesFrom(hex: hex))
        }
    }

    /// Messages as Swift writes them.
    static func write(_ messages: [any CSIMessage], to file: URL) throws {
        try write(try messages.map { ($0, try $0.encode()) }, to: file)
    }

    /// Messages with the bytes that they were read from.
    static func write(_ messages: [(message: any CSIMessage, bytes: [UInt8])], to file: URL) throws {
        var text = Data()
        for (message, bytes) in messages {
            let object: [String: Any] = [
                "type": Swift.type(of: message).fullName, "bytes": hex(bytes), "tree": tree(of: message),
            ]
            text += try JSONSerialization.data(withJSONObject: object) + [UInt8(ascii: "\n")]
        }
        try text.write(to: file)
    }
}

func hex(_ bytes: [UInt8]) -> String { bytes.map { String(format: "%02x", $0) }.joined() }

func bytesFrom(hex: String) -> [UInt8] {
    let digits = hex.compactMap(\.hexDigitValue).map(UInt8.init)
    return stride(from: 0, to: digits.count - 1, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
}
