#!/usr/bin/env python3
"""Makes an OCI image of a root file system: one layer, and what the Dockerfile says of labels, user, environment and command.

    scripts/make-image-oci.py ROOT_TAR ARCHIVE [--name NAME]

The archive is for `ctr images import`, `podman load`, `skopeo copy oci-archive:...`. The same tar gives the same archive, byte
by byte, with the same SOURCE_DATE_EPOCH. It needs nothing beyond Python.
"""

import argparse
import datetime
import gzip
import hashlib
import io
import json
import os
import pathlib
import re
import shlex
import subprocess
import tarfile
import tempfile

SOURCE = pathlib.Path(__file__).resolve().parents[1]
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
PIECE = 1 << 20


def last_stage(dockerfile, values):
    """What the last stage of a Dockerfile says: LABEL, ENV, USER and CMD, with the values of its ARGs filled in.

    It knows the forms that ours has, and refuses others: a line that is passed over would make two images of one name differ.
    """
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", dockerfile, flags=re.MULTILINE))
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]
    start = max(number for number, (word, _) in enumerate(lines) if word == "FROM")
    arguments, found = {}, {"labels": {}, "environment": {}, "user": "", "command": []}

    def pairs(rest):
        for word in shlex.split(rest):
            name, _, value = word.partition("=")
            yield name, re.sub(r"\$\{(\w+)\}", lambda match: arguments[match[1]], value)

    for word, rest in lines[start + 1:]:
        if word == "ARG":
            name, _, value = rest.partition("=")
            arguments[name] = values.get(name, value)
        elif word == "LABEL":
            found["labels"].update(pairs(rest))
        elif word == "ENV":
            found["environment"].update(pairs(rest))
        elif word == "USER":
            found["user"] = rest.strip()
        elif word == "CMD":
            found["command"] = json.loads(rest)
        elif word != "COPY":
            raise ValueError(f"this script does not know '{word}' in the last stage of the Dockerfile")
    return found


class Archive:
    """An OCI image layout inside a tar."""

    def __init__(self, path, time):
        self.tar = tarfile.open(path, "w", format=tarfile.USTAR_FORMAT)
        self.time, self.known = time, set()
        for name in ("blobs", "blobs/sha256"):
            entry = self._entry(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            self.tar.addfile(entry)

    def _entry(self, name, size=0):
        entry = tarfile.TarInfo(name)
        entry.size, entry.mtime, entry.mode = size, self.time, 0o644
        return entry

    def add(self, name, data):
        self.tar.addfile(self._entry(name, len(data)), io.BytesIO(data))

    def blob(self, media_type, file, digest, size):
        # Manifest and configuration are never the same, but a name that stands twice in a tar would be an error.
        if digest not in self.known:
            self.known.add(digest)
            self.tar.addfile(self._entry(f"blobs/sha256/{digest}", size), file)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": size}

    def document(self, media_type, value):
        data = encoded(value)
        return self.blob(media_type, io.BytesIO(data), hashlib.sha256(data).hexdigest(), len(data))

    def close(self):
        self.tar.close()


def encoded(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def compressed(source, target):
    """Compresses a layer; returns the digest of what it was and of what it is."""
    plain, packed = hashlib.sha256(), hashlib.sha256()
    # Neither a name nor a time in its head, so that the same layer has the same digest.
    with open(source, "rb") as file, gzip.GzipFile(filename="", fileobj=target, mode="wb", compresslevel=6, mtime=0) as layer:
        while piece := file.read(PIECE):
            plain.update(piece)
            layer.write(piece)
    target.seek(0)
    while piece := target.read(PIECE):
        packed.update(piece)
    size = target.tell()
    target.seek(0)
    return plain.hexdigest(), packed.hexdigest(), size


def is_complete(path):
    """Whether a tar has its end: one that a full disk cut short would be an image that lacks files."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            if size % 512 != 0 or size < 1024:
                return False
            file.seek(-1024, os.SEEK_END)
            if any(file.read()):
                return False
        with tarfile.open(path, "r:") as tar:
            return any(True for _ in tar)
    except tarfile.TarError:
        return False


def git(*arguments):
    try:
        return subprocess.run(
            ["git", "-C", str(SOURCE), *arguments], check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=pathlib.Path)
    parser.add_argument("archive", type=pathlib.Path)
    parser.add_argument("--name", help="registry/name:tag; docker.io/library/perssd:VERSION if it is not given")
    options = parser.parse_args()
    if not options.root.is_file() or not is_complete(options.root):
        parser.error(f"{options.root} is no complete tar: run make image-root")

    version = re.search(r'^public let version = "(.+)"$', (SOURCE / "Sources/Settings/Version.swift").read_text(), re.MULTILINE)[1]
    name = options.name or f"docker.io/library/perssd:{version}"
    if not re.fullmatch(r"[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)+:[\w][\w.-]{0,127}", name):
        parser.error(f"'{name}' is no full name of an image, as registry.example.org/perssd:{version}")
    time = int(os.environ.get("SOURCE_DATE_EPOCH") or git("log", "-1", "--format=%ct") or 0)
    created = datetime.datetime.fromtimestamp(time, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    values = {"VERSION": version, "REVISION": git("rev-parse", "HEAD") or "unknown", "CREATED": created}
    said = last_stage((SOURCE / "deploy/image/Dockerfile").read_text(), values)
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]

    unfinished = options.archive.with_name(options.archive.name + ".new")
    with tempfile.TemporaryFile(dir=options.archive.parent) as layer:
        plain, packed, size = compressed(options.root, layer)
        archive = Archive(unfinished, time)
        layers = [archive.blob(LAYER, layer, packed, size)]
    config = archive.document(CONFIG, {
        "architecture": architecture, "os": "linux", "created": created,
        "config": {
            "User": said["user"], "Env": [f"{key}={value}" for key, value in said["environment"].items()],
            "Cmd": said["command"], "WorkingDir": "/", "Labels": said["labels"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{plain}"]},
        "history": [{"created": created, "created_by": "scripts/make-image-root.sh"}]})
    manifest = archive.document(MANIFEST, {
        "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers, "annotations": said["labels"]})
    manifest["platform"] = {"architecture": architecture, "os": "linux"}
    # containerd takes the one, podman and skopeo the other.
    manifest["annotations"] = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]}
    archive.add("index.json", encoded({"schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest]}))
    archive.add("oci-layout", encoded({"imageLayoutVersion": "1.0.0"}))
    archive.close()
    unfinished.replace(options.archive)
    print(f"made {options.archive}: {name}, {manifest['digest']}")
    print(f"figure image_download_size {size >> 20} MiB")


if __name__ == "__main__":
    main()
