internal import CCSI
import Errors

/// The memory of one C message tree; all of it is freed with the arena.
final class CArena {
    private var blocks: [UnsafeMutableRawPointer] = []

    deinit {
        for block in blocks { block.deallocate() }
    }

    private func allocate<Element>(_ count: Int, of type: Element.Type) -> UnsafeMutablePointer<Element> {
        let block = UnsafeMutableRawPointer.allocate(
            byteCount: max(count, 1) * MemoryLayout<Element>.stride, alignment: MemoryLayout<Element>.alignment)
        blocks.append(block)
        return block.bindMemory(to: type, capacity: count)
    }

    // MARK: Fields

    func root<Message: CodedMessage>(
        _ message: Message
    ) throws(PerSSDError) -> UnsafeMutablePointer<Message.CMessage> {
        let c = allocate(1, of: Message.CMessage.self)
        Message.initialize(c)
        try message.write(to: &c.pointee, self)
        return c
    }

    func message<Message: CodedMessage>(
        _ message: Message?
    ) throws(PerSSDError) -> UnsafeMutablePointer<Message.CMessage>? {
        guard let message else { return nil }
        return try root(message)
    }

    func string(_ string: String, _ field: String) throws(PerSSDError) -> UnsafeMutablePointer<CChar> {
        let bytes = string.utf8
        guard !bytes.contains(0) else {
            throw PerSSDError(
                .invalidArgument, "field \(field) holds a NUL character", remedy: "leave it out of the text")
        }
        let c = allocate(bytes.count + 1, of: CChar.self)
        for (index, byte) in bytes.enumerated() { c[index] = CChar(bitPattern: byte) }
        c[bytes.count] = 0
        return c
    }

    func timestamp(_ value: Timestamp?) -> UnsafeMutablePointer<Google__Protobuf__Timestamp>? {
        guard let value else { return nil }
        let c = allocate(1, of: Google__Protobuf__Timestamp.self)
        google__protobuf__timestamp__init(c)
        (c.pointee.seconds, c.pointee.nanos) = (value.seconds, value.nanoseconds)
        return c
    }

    func boolValue(_ value: Bool?) -> UnsafeMutablePointer<Google__Protobuf__BoolValue>? {
        guard let value else { return nil }
        let c = allocate(1, of: Google__Protobuf__BoolValue.self)
        google__protobuf__bool_value__init(c)
        c.pointee.value = value ? 1 : 0
        return c
    }

    func int64Value(_ value: Int64?) -> UnsafeMutablePointer<Google__Protobuf__Int64Value>? {
        guard let value else { return nil }
        let c = allocate(1, of: Google__Protobuf__Int64Value.self)
        google__protobuf__int64_value__init(c)
        c.pointee.value = value
        return c
    }

    // MARK: Repeated fields, with their counts; nil where there is nothing

    typealias Pointers<Element> = UnsafeMutablePointer<UnsafeMutablePointer<Element>?>

    func messages<Message: CodedMessage>(
        _ messages: [Message]
    ) throws(PerSSDError) -> (Pointers<Message.CMessage>?, Int) {
        guard !messages.isEmpty else { return (nil, 0) }
        let c = allocate(messages.count, of: UnsafeMutablePointer<Message.CMessage>?.self)
        for (index, element) in messages.enumerated() { c[index] = try root(element) }
        return (c, messages.count)
    }

    func strings(_ strings: [String], _ field: String) throws(PerSSDError) -> (Pointers<CChar>?, Int) {
        guard !strings.isEmpty else { return (nil, 0) }
        let c = allocate(strings.count, of: UnsafeMutablePointer<CChar>?.self)
        for (index, element) in strings.enumerated() { c[index] = try string(element, field) }
        return (c, strings.count)
    }

    func entries<Entry: CStringEntry>(
        _ dictionary: [String: String], _ field: String
    ) throws(PerSSDError) -> (Pointers<Entry>?, Int) {
        guard !dictionary.isEmpty else { return (nil, 0) }
        let c = allocate(dictionary.count, of: UnsafeMutablePointer<Entry>?.self)
        for (index, (key, value)) in dictionary.sorted(by: { $0.key < $1.key }).enumerated() {
            let entry = allocate(1, of: Entry.self)
            Entry.initialize(entry)
            entry.pointee.key = try string(key, field)
            entry.pointee.value = try string(value, field)
            c[index] = entry
        }
        return (c, dictionary.count)
    }
}

/// An entry of a map of strings to strings; protoc-c makes a type of its own for each map.
protocol CStringEntry {
    var key: UnsafeMutablePointer<CChar>! { get set }
    var value: UnsafeMutablePointer<CChar>! { get set }

    static func initialize(_ c: UnsafeMutablePointer<Self>)
}
