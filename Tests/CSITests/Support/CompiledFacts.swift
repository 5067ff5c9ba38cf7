import CCSI

@testable import CSI

/// The facts as protobuf-c's compiled descriptors tell them, found by walking from the services' methods.
///
/// The descriptors know neither streams nor options nor a oneof's name. Those columns are left out, and a oneof is
/// written as the names of its members.
struct CompiledFacts {
    private(set) var lines: Set<[String]> = []
    private(set) var messages: Set<String> = []
    private var enums: Set<String> = []

    init(services: [ProtobufCServiceDescriptor]) {
        for service in services {
            for method in UnsafeBufferPointer(start: service.methods, count: Int(service.n_methods)) {
                let (input, output) = (method.input.pointee, method.output.pointee)
                lines.insert([
                    "rpc", String(cString: service.name), String(cString: method.name),
                    "\(String(cString: input.name)) -> \(String(cString: output.name))",
                ])
                add(input)
                add(output)
            }
        }
    }

    /// The same columns of a line of the specification's facts.
    static func line(of fact: Fact, among facts: [Fact]) -> [String] {
        switch fact.kind {
        case "rpc": return [fact.kind, fact.owner, fact.name, fact.type]
        case "enum": return [fact.kind, fact.owner, fact.name, fact.number]
        default:
            let members = facts.filter { $0.owner == fact.owner && $0.oneof == fact.oneof && fact.oneof != "-" }
            let oneof = members.map(\.name).sorted().joined(separator: "|")
            return [fact.kind, fact.owner, fact.name, fact.number, fact.type, fact.label, oneof]
        }
    }

    private mutating func add(_ message: ProtobufCMessageDescriptor) {
        let owner = String(cString: message.name)
        guard owner.hasPrefix("csi.v1."), messages.insert(owner).inserted else { return }
        let fields = UnsafeBufferPointer(start: message.fields, count: Int(message.n_fields))
        for field in fields {
            let name = String(cString: field.name)
            var (type, label) = (typeName(field), labelName(field))
            if let entry = field.message, isEntry(entry, of: field, owner) {
                (type, label) = ("map<string,string>", "map")
            }
            let oneof = fields.filter {
                $0.isInOneof && field.isInOneof && $0.quantifier_offset == field.quantifier_offset
            }
            .map { String(cString: $0.name) }.sorted().joined(separator: "|")
            lines.insert(["field", owner, name, "\(field.id)", type, label, oneof])
            if label != "map", let message = field.message { add(message) }
            if let `enum` = field.enum { add(`enum`) }
        }
    }

    private mutating func add(_ descriptor: ProtobufCEnumDescriptor) {
        let owner = String(cString: descriptor.name)
        guard enums.insert(owner).inserted else { return }
        for value in UnsafeBufferPointer(start: descriptor.values, count: Int(descriptor.n_values)) {
            lines.insert(["enum", owner, String(cString: value.name), "\(value.value)"])
        }
    }

    /// A map is a repeated message with a key and a value, named for the field.
    private func isEntry(_ entry: ProtobufCMessageDescriptor, of field: ProtobufCFieldDescriptor, _ owner: String)
        -> Bool
    {
        let words = String(cString: field.name).split(separator: "_")
        let name = "\(owner).\(words.map(\.capitalized).joined())Entry"
        let fields = UnsafeBufferPointer(start: entry.fields, count: Int(entry.n_fields))
        return labelName(field) == "repeated" && String(cString: entry.name) == name
            && fields.map { "\(String(cString: $0.name)) \($0.id) \(typeName($0))" } == [
                "key 1 string", "value 2 string",
            ]
    }

    private func typeName(_ field: ProtobufCFieldDescriptor) -> String {
        switch field.type {
        case PROTOBUF_C_TYPE_STRING: "string"
        case PROTOBUF_C_TYPE_BOOL: "bool"
        case PROTOBUF_C_TYPE_INT32: "int32"
        case PROTOBUF_C_TYPE_INT64: "int64"
        case PROTOBUF_C_TYPE_MESSAGE: field.message.map { String(cString: $0.name) } ?? "message without descriptor"
        case PROTOBUF_C_TYPE_ENUM: field.enum.map { String(cString: $0.name) } ?? "enum without descriptor"
        default: "type \(field.type.rawValue)"
        }
    }

    private func labelName(_ field: ProtobufCFieldDescriptor) -> String {
        switch field.label {
        case PROTOBUF_C_LABEL_NONE, PROTOBUF_C_LABEL_OPTIONAL: "single"
        case PROTOBUF_C_LABEL_REPEATED: "repeated"
        default: "required"
        }
    }
}

extension ProtobufCFieldDescriptor {
    var isInOneof: Bool { flags & PROTOBUF_C_FIELD_FLAG_ONEOF.rawValue != 0 }

    var message: ProtobufCMessageDescriptor? {
        guard type == PROTOBUF_C_TYPE_MESSAGE else { return nil }
        return descriptor?.assumingMemoryBound(to: ProtobufCMessageDescriptor.self).pointee
    }

    var `enum`: ProtobufCEnumDescriptor? {
        guard type == PROTOBUF_C_TYPE_ENUM else { return nil }
        return descriptor?.assumingMemoryBound(to: ProtobufCEnumDescriptor.self).pointee
    }
}
