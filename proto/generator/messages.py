"""Messages and enums as Swift source."""

import fields
import names


class Message:
    """A message with what is nested in it, and the comments of all of it."""

    def __init__(self, proto, full_name, docs, path):
        self.proto, self.full_name = proto, full_name
        self.name = names.swift_type_name(proto.name)
        self.doc = docs.get(path, "")
        self.maps = set()
        self.messages, self.enums, self.fields = [], [], []
        self.oneofs = []  # (name, doc, [(member, doc)])
        for index, nested in enumerate(proto.nested_type):
            if nested.options.map_entry:
                self.maps.add(f"{full_name}.{nested.name}")
                _require_string_entry(nested, full_name)
            else:
                nested_path = (*path, 3, index)
                self.messages.append(Message(nested, f"{full_name}.{nested.name}", docs, nested_path))
        for index, nested in enumerate(proto.enum_type):
            self.enums.append(Enum(nested, f"{full_name}.{nested.name}", docs, (*path, 4, index)))
        self._read_fields(docs, path)

    def _read_fields(self, docs, path):
        for index, field in enumerate(self.proto.field):
            doc = docs.get((*path, 2, index), "")
            if not field.HasField("oneof_index"):
                self.fields.append(fields.plain_field(self, field, doc))
                continue
            oneof = self.proto.oneof_decl[field.oneof_index].name
            if not self.oneofs or self.oneofs[-1][0] != oneof:
                self.oneofs.append((oneof, docs.get((*path, 8, field.oneof_index), ""), []))
                self.fields.append(None)
            self.oneofs[-1][2].append((field, doc))
        whole = (
            fields.oneof_field(self, oneof, [member for member, _ in members], doc)
            for oneof, doc, members in self.oneofs)
        self.fields = [next(whole) if field is None else field for field in self.fields]

    def declaration(self):
        """The Swift type, with what is nested in it."""
        lines = [*names.comment(self.doc), f"public struct {self.name}: CSIMessage {{"]
        for nested in (*self.enums, *self.messages):
            lines += [*_indented(nested.declaration()), ""]
        for oneof, doc, members in self.oneofs:
            lines += [*_indented(_oneof_declaration(oneof, doc, members)), ""]
        for field in self.fields:
            lines += [*names.comment(field.doc, 4), f"    public var {field.name}: {field.type}"]
        if self.fields:
            lines.append("")
        return lines + _indented(self._initializer() + [""] + self._plumbing()) + ["}"]

    def _initializer(self):
        if not self.fields:
            return ["public init() {}"]
        parameters = [f"    {field.name}: {field.type} = {field.default}" for field in self.fields]
        assignments = [f"    self.{field.name} = {field.name}" for field in self.fields]
        return ["public init(", *[line + "," for line in parameters[:-1]], parameters[-1], ") {", *assignments, "}"]

    def _plumbing(self):
        full_name = self.full_name.removeprefix(".")
        children = [f'        "{field.name}": {field.shown},' for field in self.fields]
        mirror = ["    let fields: KeyValuePairs<String, Any> = [", *children, "    ]"]
        if len(children) < 2:
            child = "".join(children).strip().removesuffix(",") or ":"
            mirror = [f"    let fields: KeyValuePairs<String, Any> = [{child}]"]
        return [
            f'public static let fullName = "{full_name}"', "",
            "public var customMirror: Mirror {", *mirror,
            "    return Mirror(self, children: fields, displayStyle: .struct)", "}", "",
            "public static func decode(_ bytes: [UInt8]) throws(PerSSDError) -> Self { try decoded(bytes) }", "",
            "public func encode() throws(PerSSDError) -> [UInt8] { try encoded() }",
        ]

    def message_names(self):
        return [self.full_name, *[name for nested in self.messages for name in nested.message_names()]]

    def coding(self):
        """The extensions that carry this message, and what is nested in it, to and from C."""
        swift, c = names.swift_type_path(self.full_name), names.c_type(self.full_name)
        initialize = names.c_function(self.full_name, "init")
        lines = [
            f"extension {swift}: CodedMessage {{",
            f"    typealias CMessage = {c}", "",
            "    static func initialize(_ c: UnsafeMutablePointer<CMessage>) {",
            f"        {initialize}(c)",
            "    }", "",
            "    init(_ c: CMessage) {",
        ]
        if self.fields:
            arguments = [f"            {field.name}: {field.read}" for field in self.fields]
            lines += ["        self.init(", *[line + "," for line in arguments[:-1]], arguments[-1] + ")"]
        else:
            lines.append("        self.init()")
        lines += ["    }", ""]
        lines.append("    func write(to c: inout CMessage, _ arena: CArena) throws(PerSSDError) {")
        lines += ["        " + statement for field in self.fields for statement in field.write]
        if self.fields:
            lines += ["    }", "}"]
        else:
            lines[-1] += "}"
            lines.append("}")
        for entry in sorted(self.maps):
            lines += ["", *_entry_coding(entry)]
        for oneof, _, members in self.oneofs:
            lines += ["", *self._oneof_coding(oneof, members)]
        for nested in self.messages:
            lines += ["", *nested.coding()]
        return lines

    def _oneof_coding(self, oneof, members):
        type = f"{names.swift_type_path(self.full_name)}.{names.swift_type_name(names.pascal(oneof))}"
        lines = [
            f"extension {type} {{",
            f"    fileprivate init?(_ c: {names.c_type(self.full_name)}) {{",
            f"        switch c.{oneof}_case {{",
        ]
        for member, _ in members:
            payload, case = names.swift_type_path(member.type_name), names.camel(member.name)
            lines += [
                f"        case {names.c_constant(self.full_name, oneof, member.name)}:",
                f"            guard let value: {payload} = CFields.message(c.{member.name}) else {{ return nil }}",
                f"            self = .{case}(value)",
            ]
        return lines + ["        default:", "            return nil", "        }", "    }", "}"]


class Enum:
    """An enum; the first value must be UNKNOWN, which stands for a field that is not set."""

    def __init__(self, proto, full_name, docs, path):
        self.proto, self.full_name = proto, full_name
        self.name = names.swift_type_name(proto.name)
        self.doc = docs.get(path, "")
        self.docs = [docs.get((*path, 2, index), "") for index in range(len(proto.value))]
        if (proto.value[0].name, proto.value[0].number) != ("UNKNOWN", 0):
            raise ValueError(f"enum {full_name}: the first value is not UNKNOWN = 0")

    def declaration(self):
        values = [(value.number, value.name, names.camel(value.name)) for value in self.proto.value]
        lines = [*names.comment(self.doc), f"public enum {self.name}: CSIEnum {{"]
        for doc, (number, _, case) in zip(self.docs, values):
            doc = doc or ("Not set." if number == 0 else "")
            lines += [*names.comment(doc, 4), f"    case {case}"]
        lines += [*names.comment("A value of a later version of the specification.", 4)]
        lines += ["    case unrecognized(Int32)", ""]
        lines += [f"    public static let allCases: [{self.name}] = ["]
        lines += [f"        .{case}," for _, _, case in values] + ["    ]", ""]
        lines += ["    public init(rawValue: Int32) {", "        switch rawValue {"]
        lines += [f"        case {number}: self = .{case}" for number, _, case in values]
        lines += ["        default: self = .unrecognized(rawValue)", "        }", "    }", ""]
        lines += ["    public var rawValue: Int32 {", "        switch self {"]
        lines += [f"        case .{case}: {number}" for number, _, case in values]
        lines += ["        case .unrecognized(let value): value", "        }", "    }", ""]
        lines += ["    public var name: String {", "        switch self {"]
        lines += [f'        case .{case}: "{name}"' for _, name, case in values]
        lines += ['        case .unrecognized(let value): "\\(value)"', "        }", "    }", "}"]
        return lines

    def message_names(self):
        return []

    def coding(self):
        return []


def _oneof_declaration(oneof, doc, members):
    type = names.swift_type_name(names.pascal(oneof))
    lines = [*names.comment(doc), f"public enum {type}: Sendable, Equatable {{"]
    for member, member_doc in members:
        payload = names.swift_type_path(member.type_name)
        lines += [*names.comment(member_doc, 4), f"    case {names.camel(member.name)}({payload})"]
    return lines + ["}"]


def _entry_coding(entry):
    c = names.c_type(entry)
    return [
        f"extension {c}: CStringEntry {{",
        "    static func initialize(_ c: UnsafeMutablePointer<Self>) {",
        f"        {names.c_function(entry, 'init')}(c)",
        "    }",
        "}",
    ]


def _require_string_entry(entry, full_name):
    if any(field.type != fields.Proto.TYPE_STRING for field in entry.field):
        raise ValueError(f"{full_name}.{entry.name}: only maps of strings to strings are supported")


def _indented(lines):
    return ["    " + line if line else "" for line in lines]
