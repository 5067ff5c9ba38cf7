internal import CCSI
import Errors

/// A message that protobuf-c can read and write: how its fields cross from and to the generated C structure.
///
/// The C structure begins with a `ProtobufCMessage`, as every one that protoc-c generates does.
protocol CodedMessage: CSIMessage {
    associatedtype CMessage

    /// Sets every field to its default, and the descriptor.
    static func initialize(_ c: UnsafeMutablePointer<CMessage>)
    /// Copies all there is; the strings in it are known to be UTF-8.
    init(_ c: CMessage)
    /// What the C message points to is allocated in the arena.
    func write(to c: inout CMessage, _ arena: CArena) throws(PerSSDError)
}

extension CodedMessage {
    static var descriptor: UnsafePointer<ProtobufCMessageDescriptor> {
        withUnsafeTemporaryAllocation(of: CMessage.self, capacity: 1) { buffer in
            let c = buffer.baseAddress!
            initialize(c)
            return c.withMemoryRebound(to: ProtobufCMessage.self, capacity: 1) { $0.pointee.descriptor }
        }
    }

    static func decoded(_ bytes: [UInt8]) throws(PerSSDError) -> Self {
        let descriptor = descriptor
        try WireFormat.check(bytes, descriptor)
        guard let message = protobuf_c_message_unpack(descriptor, nil, bytes.count, bytes) else {
            throw PerSSDError(
                .invalidArgument, "\(fullName): the \(bytes.count) bytes are not such a message",
                remedy: "send a message of CSI v1.12.0 in protocol buffers' wire format")
        }
        defer { protobuf_c_message_free_unpacked(message, nil) }
        return message.withMemoryRebound(to: CMessage.self, capacity: 1) { Self($0.pointee) }
    }

    func encoded() throws(PerSSDError) -> [UInt8] {
        let arena = CArena()
        let c: UnsafeMutablePointer<CMessage>
        do throws(PerSSDError) {
            c = try arena.root(self)
        } catch {
            throw error.during("cannot encode \(Self.fullName)")
        }
        return withExtendedLifetime(arena) {
            c.withMemoryRebound(to: ProtobufCMessage.self, capacity: 1) { message in
                let size = protobuf_c_message_get_packed_size(message)
                return [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
                    count = size == 0 ? 0 : protobuf_c_message_pack(message, buffer.baseAddress!)
                }
            }
        }
    }
}
