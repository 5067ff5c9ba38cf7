"""Exchanges messages of every type with the Swift tests, in lines of JSON: type, hex of the bytes, contents as a tree.

    exchange.py generate SEED COUNT FILE     writes COUNT random messages of every type, all or some of their fields set
    exchange.py compare FILE RETURNED        reads the same messages as Swift wrote them, and compares
    exchange.py read FILE                    compares the bytes and the tree of each message that Swift made
    exchange.py accept FILE                  the same for bytes that Swift took, which may hold unknown fields

A tree is a message as Swift's properties show it, so that a value under the wrong name is noticed. Contents of secret
fields are left out of it.
"""

import json
import random
import sys

from google.protobuf.unknown_fields import UnknownFieldSet

import descriptors

CSI_SECRET = 1059
WRAPPERS = ("google.protobuf.BoolValue", "google.protobuf.Int64Value")


def swift_name(snake):
    first, *rest = snake.split("_")
    return first + "".join({"id": "ID", "ids": "IDs"}.get(word, word.title()) for word in rest)


def is_map(field):
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def tree(message):
    """What Swift should show of the message."""
    if message.DESCRIPTOR.full_name in WRAPPERS:
        return message.value
    if message.DESCRIPTOR.full_name == "google.protobuf.Timestamp":
        return {"seconds": message.seconds, "nanoseconds": message.nanos}
    result = {}
    for field in message.DESCRIPTOR.fields:
        if field.containing_oneof:
            continue
        value = getattr(message, field.name)
        if any(option.field_number == CSI_SECRET for option in UnknownFieldSet(field.GetOptions())):
            shown = "***stripped***" if value else ""
        elif is_map(field):
            shown = dict(value)
        elif field.message_type is not None and field.is_repeated:
            shown = [tree(element) for element in value]
        elif field.message_type is not None:
            shown = tree(value) if message.HasField(field.name) else None
        else:
            shown = list(value) if field.is_repeated else value
        result[swift_name(field.name)] = shown
    for oneof in message.DESCRIPTOR.oneofs:
        member = message.WhichOneof(oneof.name)
        result[swift_name(oneof.name)] = member and {swift_name(member): tree(getattr(message, member))}
    return result


class Generator:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def text(self):
        alphabet = "abcXYZ019 ./-_\n\t\"\\\u007f\u0080\u00e4\u07ff\u20ac\ufffd\U0001f4be\U0010ffff"
        return "".join(self.random.choices(alphabet, k=self.random.choice((0, 1, 3, 20, 200))))

    def integer(self, bits):
        limit = 2 ** (bits - 1)
        small, large = self.random.randrange(-3, 300), self.random.randrange(-limit, limit)
        return self.random.choice((0, 1, -1, limit - 1, -limit, small, large))

    def scalar(self, field):
        if field.type == field.TYPE_STRING:
            return self.text()
        if field.type == field.TYPE_BOOL:
            return self.random.random() < 0.7
        if field.type == field.TYPE_ENUM:
            known = [value.number for value in field.enum_type.values]
            return self.random.choice((*known, 99, -1, 2 ** 31 - 1))
        return self.integer(32 if field.type == field.TYPE_INT32 else 64)

    def fill(self, message, share):
        """Sets each field with the given probability; of a oneof always the last that is chosen."""
        for field in message.DESCRIPTOR.fields:
            if self.random.random() >= share:
                continue
            if is_map(field):
                for _ in range(self.random.randrange(1, 6)):
                    getattr(message, field.name)[self.text()] = self.text()
            elif field.message_type is not None and field.is_repeated:
                for _ in range(self.random.randrange(1, 4)):
                    self.fill(getattr(message, field.name).add(), share)
            elif field.message_type is not None:
                child = getattr(message, field.name)
                child.SetInParent()
                self.fill(child, share)
            elif field.is_repeated:
                getattr(message, field.name).extend(self.text() for _ in range(self.random.randrange(1, 4)))
            else:
                setattr(message, field.name, self.scalar(field))


def generate(seed, count, path):
    generator = Generator(int(seed))
    with open(path, "w", encoding="utf-8") as file:
        for name, message_class in sorted(descriptors.message_classes().items()):
            for number in range(int(count)):
                message = message_class()
                generator.fill(message, 1 if number % 2 == 0 else 0.5)
                write(file, name, message)


def write(file, name, message):
    data = message.SerializeToString(deterministic=True)
    file.write(json.dumps({"type": name, "bytes": data.hex(), "tree": tree(message)}) + "\n")


def compare(path, returned):
    sent, received = lines(path), lines(returned)
    if len(sent) != len(received):
        sys.exit(f"{len(sent)} messages were sent, {len(received)} came back")
    for number, (one, other) in enumerate(zip(sent, received)):
        if parse(one) != parse(other) or one["type"] != other["type"]:
            sys.exit(f"message {number}, {one['type']}: {one['bytes']} came back as {other['bytes']}")
        require_tree(number, other, one["tree"])


def read(path):
    for number, line in enumerate(lines(path)):
        require_tree(number, line, tree(parse(line)))


def accept(path):
    compared = 0
    for number, line in enumerate(lines(path)):
        message = CLASSES[line["type"]].FromString(bytes.fromhex(line["bytes"]))
        if not has_odd_entries(message):
            require_tree(number, line, tree(message))
            compared += 1
    print(compared)


def has_odd_entries(message):
    """Whether entries of maps have unknown fields. Python's protobuf alone then leaves the whole entry out."""
    fields = message.DESCRIPTOR.fields_by_number
    if any(is_map(fields[field.field_number]) for field in UnknownFieldSet(message) if field.field_number in fields):
        return True
    children = [
        child for field, value in message.ListFields() if field.message_type is not None and not is_map(field)
        for child in (value if field.is_repeated else [value])]
    return any(map(has_odd_entries, children))


def parse(line):
    message = CLASSES[line["type"]].FromString(bytes.fromhex(line["bytes"]))
    if len(UnknownFieldSet(message)):
        sys.exit(f"{line['type']}: {line['bytes']} has fields that Python does not know")
    return message


def require_tree(number, line, expected):
    if line["tree"] != expected:
        sys.exit(f"message {number}, {line['type']}: Swift has\n{line['tree']}\nand Python\n{expected}")


def lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


if __name__ == "__main__":
    CLASSES = descriptors.message_classes()
    {"generate": generate, "compare": compare, "read": read, "accept": accept}[sys.argv[1]](*sys.argv[2:])
