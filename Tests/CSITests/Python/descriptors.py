"""proto/csi.proto, as Python's protobuf sees it."""

import pathlib
import subprocess
import tempfile

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

ROOT = pathlib.Path(__file__).resolve().parents[3]
PACKAGE = "csi.v1"


def compiled():
    """The file's descriptor with its imports, by protoc."""
    with tempfile.NamedTemporaryFile() as file:
        subprocess.run(
            ["protoc", "-I", ROOT / "proto", "--include_imports", f"--descriptor_set_out={file.name}", "csi.proto"],
            check=True)
        return descriptor_pb2.FileDescriptorSet.FromString(pathlib.Path(file.name).read_bytes())


def message_classes():
    """Every message of the package but the entries of maps, nested ones included: full name to class."""
    pool = descriptor_pool.DescriptorPool()
    for file in compiled().file:
        pool.Add(file)
    classes = {}

    def add(descriptor):
        if not descriptor.GetOptions().map_entry:
            classes[descriptor.full_name] = message_factory.GetMessageClass(descriptor)
            for nested in descriptor.nested_types:
                add(nested)

    for descriptor in pool.FindFileByName("csi.proto").message_types_by_name.values():
        add(descriptor)
    return classes
