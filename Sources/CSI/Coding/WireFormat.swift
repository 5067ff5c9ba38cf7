internal import CCSI
import Errors

/// Walks serialized bytes before protobuf-c reads them, to refuse what it would take silently or without saying why: a
/// NUL in a string would cut it off, and bytes that are not UTF-8 would pass. A single message in several pieces, which
/// no encoder writes, would lose its first piece's numbers, since protobuf-c 1.4 merges only what is not a number.
///
/// Source: protobuf.dev, "Encoding".
enum WireFormat {
    /// The deepest nesting that is read. The protocol's own is much less.
    static let maximumDepth = 32

    /// - Throws: `invalidArgument`, naming the field but none of its contents, which may be secret.
    static func check(_ bytes: [UInt8], _ descriptor: UnsafePointer<ProtobufCMessageDescriptor>) throws(PerSSDError) {
        var reader = Reader(bytes: bytes[...], message: String(cString: descriptor.pointee.name))
        try reader.checkMessage(descriptor, depth: 0)
    }

    private struct Reader {
        var bytes: ArraySlice<UInt8>
        let message: String
        /// Where in the message we are, as "volume_capabilities.mount".
        var path: [String] = []

        mutating func checkMessage(
            _ descriptor: UnsafePointer<ProtobufCMessageDescriptor>, depth: Int
        ) throws(PerSSDError) {
            guard depth < maximumDepth else { throw error("is nested more than \(maximumDepth) levels deep") }
            var single: Set<UInt32> = []
            while !bytes.isEmpty {
                let tag = try varint()
                guard let number = UInt32(exactly: tag >> 3), (1...0x1fff_ffff).contains(number) else {
                    throw error("has a field with the number \(tag >> 3), which is not allowed")
                }
                let field = protobuf_c_message_descriptor_get_field(descriptor, number)
                path.append(field.map { String(cString: $0.pointee.name) } ?? "\(number)")
                if let field, field.pointee.isSingleMessage, !single.insert(number).inserted {
                    throw error("occurs more than once")
                }
                try checkField(field, wireType: UInt8(tag & 7), depth: depth)
                path.removeLast()
            }
        }

        private mutating func checkField(
            _ field: UnsafePointer<ProtobufCFieldDescriptor>?, wireType: UInt8, depth: Int
        ) throws(PerSSDError) {
            if let field, !field.pointee.allows(wireType: wireType) {
                throw error("has wire type \(wireType), which does not fit its type")
            }
            switch wireType {
            case 0: _ = try varint()
            case 1: _ = try take(8)
            case 5: _ = try take(4)
            case 2:
                let contents = try take(try varint())
                switch field?.pointee.type {
                case PROTOBUF_C_TYPE_STRING: try checkString(contents)
                case PROTOBUF_C_TYPE_MESSAGE:
                    guard let descriptor = field?.pointee.descriptor else { break }
                    let rest = bytes
                    bytes = contents
                    try checkMessage(
                        descriptor.assumingMemoryBound(to: ProtobufCMessageDescriptor.self), depth: depth + 1)
                    bytes = rest
                default: break
                }
            default: throw error("has wire type \(wireType), which is not supported")
            }
        }

        private func checkString(_ contents: ArraySlice<UInt8>) throws(PerSSDError) {
            guard !contents.contains(0) else { throw error("holds a NUL character") }
            guard String(validating: contents, as: UTF8.self) != nil else { throw error("is not valid UTF-8") }
        }

        private mutating func varint() throws(PerSSDError) -> UInt64 {
            var value: UInt64 = 0
            for shift in stride(from: UInt64(0), to: 70, by: 7) {
                guard let byte = bytes.popFirst() else { throw error("ends in the middle of a number") }
                value |= UInt64(byte & 0x7f) << shift
                if byte < 0x80 { return value }
            }
            throw error("has a number of more than 10 bytes")
        }

        private mutating func take(_ count: UInt64) throws(PerSSDError) -> ArraySlice<UInt8> {
            guard count <= bytes.count else {
                throw error("is cut short: \(count) bytes are announced, \(bytes.count) are there")
            }
            defer { bytes = bytes.dropFirst(Int(count)) }
            return bytes.prefix(Int(count))
        }

        private func error(_ what: String) -> PerSSDError {
            let place = path.isEmpty ? message : "\(message): field \(path.joined(separator: "."))"
            return PerSSDError(
                .invalidArgument, "\(place) \(what)",
                remedy: "send a message of CSI v1.12.0 in protocol buffers' wire format, its strings without NULs")
        }
    }
}

extension ProtobufCFieldDescriptor {
    /// Repeated numbers may also come packed, as length and contents.
    fileprivate func allows(wireType: UInt8) -> Bool {
        switch type {
        case PROTOBUF_C_TYPE_STRING, PROTOBUF_C_TYPE_BYTES, PROTOBUF_C_TYPE_MESSAGE: return wireType == 2
        case PROTOBUF_C_TYPE_FIXED64, PROTOBUF_C_TYPE_SFIXED64, PROTOBUF_C_TYPE_DOUBLE:
            return wireType == 1 || isPackable && wireType == 2
        case PROTOBUF_C_TYPE_FIXED32, PROTOBUF_C_TYPE_SFIXED32, PROTOBUF_C_TYPE_FLOAT:
            return wireType == 5 || isPackable && wireType == 2
        default: return wireType == 0 || isPackable && wireType == 2
        }
    }

    fileprivate var isSingleMessage: Bool {
        type == PROTOBUF_C_TYPE_MESSAGE && label != PROTOBUF_C_LABEL_REPEATED
    }

    private var isPackable: Bool { label == PROTOBUF_C_LABEL_REPEATED }
}
