"""What the generator knows of a field: its Swift type, and the Swift expressions that read and write it in C."""

from dataclasses import dataclass

from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Proto
from google.protobuf.unknown_fields import UnknownFieldSet

import names

CSI_SECRET = 1059

# Messages of Google's that become Swift values of another kind: (Swift type, name of the functions that code them).
WELL_KNOWN = {
    ".google.protobuf.BoolValue": ("Bool?", "boolValue"),
    ".google.protobuf.Int64Value": ("Int64?", "int64Value"),
    ".google.protobuf.Timestamp": ("Timestamp?", "timestamp"),
}


@dataclass
class Field:
    """One stored property of a Swift message, and how it crosses to C."""

    name: str
    type: str
    default: str
    read: str  # an expression over `c`, the C message
    write: list  # statements that set `c`
    doc: str
    secret: bool = False

    @property
    def shown(self):
        """An expression of type `Any` for mirrors, descriptions and logs."""
        if self.secret:
            return f"Redacted({self.name})"
        return f"{self.name} as Any" if self.type.endswith("?") else self.name


def plain_field(message, proto, doc):
    """A field outside any oneof. `message` says where maps' entries are declared."""
    c, name = proto.name, names.camel(proto.name)
    repeated = proto.label == Proto.LABEL_REPEATED
    secret = has_option(proto, CSI_SECRET)

    def field(type, default, read, *write):
        return Field(name, type, default, read, list(write), doc, secret)

    def counted(function, *arguments):
        return f"(c.{c}, c.n_{c}) = try arena.{function}({', '.join((name, *arguments))})"

    if repeated and proto.type == Proto.TYPE_MESSAGE and proto.type_name in message.maps:
        return field("[String: String]", "[:]", f"CFields.dictionary(c.{c}, c.n_{c})", counted("entries", f'"{c}"'))
    if repeated and proto.type == Proto.TYPE_MESSAGE:
        element = names.swift_type_path(proto.type_name)
        return field(f"[{element}]", "[]", f"CFields.messages(c.{c}, c.n_{c})", counted("messages"))
    if repeated and proto.type == Proto.TYPE_STRING:
        return field("[String]", "[]", f"CFields.strings(c.{c}, c.n_{c})", counted("strings", f'"{c}"'))
    if repeated or proto.proto3_optional:
        raise ValueError(f"field {message.full_name}.{c}: this kind of field is not supported")

    if proto.type == Proto.TYPE_STRING:
        return field("String", '""', f"CFields.string(c.{c})", f'c.{c} = try arena.string({name}, "{c}")')
    if proto.type == Proto.TYPE_BOOL:
        return field("Bool", "false", f"c.{c} != 0", f"c.{c} = {name} ? 1 : 0")
    if proto.type in (Proto.TYPE_INT32, Proto.TYPE_INT64):
        type = "Int32" if proto.type == Proto.TYPE_INT32 else "Int64"
        return field(type, "0", f"c.{c}", f"c.{c} = {name}")
    if proto.type == Proto.TYPE_ENUM:
        return field(
            names.swift_type_path(proto.type_name), ".unknown", f".init(rawValue: Int32(bitPattern: c.{c}.rawValue))",
            f"c.{c} = .init(rawValue: UInt32(bitPattern: {name}.rawValue))")
    if proto.type == Proto.TYPE_MESSAGE and proto.type_name in WELL_KNOWN:
        type, function = WELL_KNOWN[proto.type_name]
        return field(type, "nil", f"CFields.{function}(c.{c})", f"c.{c} = arena.{function}({name})")
    if proto.type == Proto.TYPE_MESSAGE:
        type = names.swift_type_path(proto.type_name)
        return field(f"{type}?", "nil", f"CFields.message(c.{c})", f"c.{c} = try arena.message({name})")
    raise ValueError(f"field {message.full_name}.{c}: this kind of field is not supported")


def oneof_field(message, oneof, members, doc):
    """All the members of a oneof as one property."""
    name = names.camel(oneof)
    write = [f"switch {name} {{"]
    for member in members:
        if member.type != Proto.TYPE_MESSAGE or member.type_name in WELL_KNOWN:
            raise ValueError(f"field {message.full_name}.{member.name}: only messages are supported in a oneof")
        write += [
            f"case .{names.camel(member.name)}(let value):",
            f"    c.{member.name} = try arena.message(value)",
            f"    c.{oneof}_case = {names.c_constant(message.full_name, oneof, member.name)}",
        ]
    write += ["case nil:", "    break", "}"]
    secret = any(has_option(member, CSI_SECRET) for member in members)
    type = names.swift_type_name(names.pascal(oneof))
    return Field(name, f"{type}?", "nil", f"{type}(c)", write, doc, secret)


def has_option(proto, number):
    """Whether an extension of the options is set; the generator does not know them by name."""
    return any(field.field_number == number and field.data for field in UnknownFieldSet(proto.options))
