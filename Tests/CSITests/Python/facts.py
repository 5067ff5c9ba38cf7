"""Prints proto/csi.proto in the form of csi-1.12.0-facts.tsv, and each message's name as `message NAME`."""

from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field
from google.protobuf.unknown_fields import UnknownFieldSet

import descriptors

SCALARS = {
    Field.TYPE_STRING: "string", Field.TYPE_BOOL: "bool", Field.TYPE_INT32: "int32", Field.TYPE_INT64: "int64",
}


def options(descriptor):
    """The numbers of the extensions that are set to true; Python keeps them as unknown fields."""
    fields = UnknownFieldSet(descriptor.options)
    return ",".join(str(field.field_number) for field in fields if field.data == 1) or "-"


def message_facts(message, owner):
    print("message", owner, sep="\t")
    entries = {f".{owner}.{nested.name}": nested for nested in message.nested_type if nested.options.map_entry}
    for field in message.field:
        type = SCALARS.get(field.type) or field.type_name.removeprefix(".")
        label = "repeated" if field.label == Field.LABEL_REPEATED else "single"
        if field.type_name in entries:
            key, value = entries[field.type_name].field
            type, label = f"map<{SCALARS[key.type]},{SCALARS[value.type]}>", "map"
        oneof = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else "-"
        print("field", owner, field.name, field.number, type, label, oneof, options(field), sep="\t")
    for enum in message.enum_type:
        enum_facts(enum, f"{owner}.{enum.name}")
    for nested in message.nested_type:
        if not nested.options.map_entry:
            message_facts(nested, f"{owner}.{nested.name}")


def enum_facts(enum, owner):
    for value in enum.value:
        print("enum", owner, value.name, value.number, "-", "-", "-", options(value), sep="\t")


def main():
    [file] = [file for file in descriptors.compiled().file if file.package == descriptors.PACKAGE]
    for message in file.message_type:
        message_facts(message, f"{file.package}.{message.name}")
    for enum in file.enum_type:
        enum_facts(enum, f"{file.package}.{enum.name}")
    for service in file.service:
        for method in service.method:
            types = f"{method.input_type} -> {method.output_type}".replace(".csi", "csi")
            kind = {
                (False, False): "unary", (False, True): "server-stream",
                (True, False): "client-stream", (True, True): "bidirectional",
            }[method.client_streaming, method.server_streaming]
            print("rpc", f"{file.package}.{service.name}", method.name, "-", types, kind, "-", options(method), sep="\t")


if __name__ == "__main__":
    main()
