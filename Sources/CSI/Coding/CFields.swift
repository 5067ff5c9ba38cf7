internal import CCSI

/// Fields of C messages that protobuf-c has read, as Swift values. Strings were checked before: they are UTF-8.
enum CFields {
    static func string(_ c: UnsafeMutablePointer<CChar>?) -> String {
        c.map { String(cString: $0) } ?? ""
    }

    static func message<Message: CodedMessage>(_ c: UnsafeMutablePointer<Message.CMessage>?) -> Message? {
        c.map { Message($0.pointee) }
    }

    static func timestamp(_ c: UnsafeMutablePointer<Google__Protobuf__Timestamp>?) -> Timestamp? {
        c.map { Timestamp(seconds: $0.pointee.seconds, nanoseconds: $0.pointee.nanos) }
    }

    static func boolValue(_ c: UnsafeMutablePointer<Google__Protobuf__BoolValue>?) -> Bool? {
        c.map { $0.pointee.value != 0 }
    }

    static func int64Value(_ c: UnsafeMutablePointer<Google__Protobuf__Int64Value>?) -> Int64? {
        c.map { $0.pointee.value }
    }

    static func strings(_ c: CArena.Pointers<CChar>?, _ count: Int) -> [String] {
        UnsafeBufferPointer(start: c, count: count).map { string($0) }
    }

    static func messages<Message: CodedMessage>(_ c: CArena.Pointers<Message.CMessage>?, _ count: Int) -> [Message] {
        UnsafeBufferPointer(start: c, count: count).compactMap { message($0) }
    }

    /// Of entries with the same key the last one stays.
    static func dictionary<Entry: CStringEntry>(_ c: CArena.Pointers<Entry>?, _ count: Int) -> [String: String] {
        var dictionary: [String: String] = [:]
        for case let entry? in UnsafeBufferPointer(start: c, count: count) {
            dictionary[string(entry.pointee.key)] = string(entry.pointee.value)
        }
        return dictionary
    }
}
