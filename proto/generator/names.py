"""How the names of proto/csi.proto are written in Swift and in protobuf-c's C."""

import re
import textwrap

LINE_LENGTH = 120
PACKAGE = "csi.v1"


def camel(snake):
    """`source_volume_ids` as `sourceVolumeIDs`, `SINGLE_NODE_WRITER` as `singleNodeWriter`."""
    first, *rest = snake.lower().split("_")
    acronyms = {"id": "ID", "ids": "IDs"}
    return first + "".join(acronyms.get(word, word.capitalize()) for word in rest)


def pascal(snake):
    """`access_type` as `AccessType`."""
    return "".join(word.capitalize() for word in snake.split("_"))


def swift_type_name(name):
    """Swift reserves `Type` for metatypes."""
    return "Kind" if name == "Type" else name


def swift_type_path(full_name):
    """`.csi.v1.Volume.Part` as `Volume.Part`."""
    return ".".join(swift_type_name(name) for name in _local_names(full_name))


def method_name(name):
    """`CreateVolume` as `createVolume`."""
    return name[0].lower() + name[1:]


def c_type(full_name):
    """`.csi.v1.Volume.Part` as `Csi__V1__Volume__Part`."""
    return "__".join(["Csi", "V1", *_local_names(full_name)])


def c_function(full_name, function):
    """`.csi.v1.Volume.PartOne`, `init` as `csi__v1__volume__part_one__init`."""
    return "__".join(["csi", "v1", *map(_underscored, _local_names(full_name)), function])


def c_constant(full_name, oneof, field):
    """The C constant that says which member of a oneof is set."""
    return c_function(full_name, f"{oneof}_{field}").upper()


def comment(text, indent=0):
    """A proto comment as the lines of a Swift doc comment; field names in it become Swift's."""
    text = re.sub(r"`([a-z_]+)`", lambda match: f"`{camel(match.group(1))}`", " ".join(text.split()))
    prefix = " " * indent + "/// "
    return textwrap.wrap(text, LINE_LENGTH, initial_indent=prefix, subsequent_indent=prefix, break_on_hyphens=False)


def _local_names(full_name):
    prefix = f".{PACKAGE}."
    if not full_name.startswith(prefix):
        raise ValueError(f"{full_name} is outside package {PACKAGE}")
    return full_name[len(prefix):].split(".")


def _underscored(name):
    """As protoc-c does it: an underscore before each run of capitals but the first."""
    return re.sub(r"(?<=[^A-Z])(?=[A-Z])", "_", name).lower()
