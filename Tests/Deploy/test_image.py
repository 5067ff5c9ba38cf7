"""The image: its Dockerfile, the lists that it is made from, and how they agree with what the sources run.

What needs the image itself is in scripts/check-image-root.sh and processes_in_image_root.py.
"""

import gzip
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tarfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
IMAGE = ROOT / "deploy" / "image"
DOCKERFILE = (IMAGE / "Dockerfile").read_text()
# The demo starts an S3 server and copies trees on a developer's machine, with programs that the image does without.
NOT_IN_THE_IMAGE = ("perssd/Demo/", "perssd-bench/")


def listed(name):
    """The lines of a list, without comments."""
    lines = (re.sub("#.*", "", line).strip() for line in (IMAGE / name).read_text().splitlines())
    return [line for line in lines if line]


def programs():
    """Program to package, as programs.txt has it."""
    rows = [line.split(None, 2) for line in listed("programs.txt")]
    assert all(len(row) == 3 for row in rows), "each line has a program, its package, and a call"
    return {program: package for program, package, _ in rows}


def instructions(stage):
    """The instructions of a stage of the Dockerfile, comments and line ends taken out."""
    text = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE))
    return re.split(r"^FROM .*\n", text, flags=re.MULTILINE)[stage]


def sources():
    for path in sorted((ROOT / "Sources").rglob("*.swift")):
        if not str(path.relative_to(ROOT / "Sources")).startswith(NOT_IN_THE_IMAGE):
            yield path.read_text()


def programs_that_the_sources_run():
    found = set()
    for text in sources():
        # A call with a program's name as its first argument: Command("blkid", ...), tools.run("dmsetup", ...).
        found.update(re.findall(r'\b(?:Command|run|readMetadata)\(\s*"([^"\\]+)"', text))
        # Names that are chosen first and run later.
        for names in re.findall(r"for tool in \[([^\]]+)\]", text):
            found.update(re.findall(r'"([^"]+)"', names))
        found.update(re.findall(r'return \(\s*"(mkfs\.[a-z0-9]+)"', text))
    return found


def programs_that_errors_name():
    """What CommandRunner tells to install where a program is missing."""
    text = (ROOT / "Sources" / "Commands" / "SubprocessRunner.swift").read_text()
    table = text.split("knownPackages = [")[1].split("]")[0]
    return dict(re.findall(r'"([^"]+)": "([^"]+)"', table))


def test_hadolint_has_nothing_to_say():
    hadolint = pathlib.Path(sys.executable).parent / "hadolint"
    assert hadolint.exists(), "hadolint is missing: run scripts/install-dependencies.sh test"
    result = subprocess.run([hadolint, "--no-color", IMAGE / "Dockerfile"], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_program_that_the_sources_run_is_in_the_image():
    found = programs_that_the_sources_run()
    assert {"blkid", "lvm", "mkfs.xfs", "thin_delta", "wipefs"} <= found, "the sources are not read right"
    assert found - programs().keys() == set(), "list these in deploy/image/programs.txt"


def test_nothing_is_listed_that_the_sources_do_not_name():
    assert programs().keys() - programs_that_the_sources_run() - programs_that_errors_name().keys() == set()


def test_packages_of_programs_are_in_the_list_and_are_those_that_errors_name():
    assert set(programs().values()) <= set(listed("packages.txt"))
    # lists of the image and of the errors are about the same Debian
    for program, package in programs_that_errors_name().items():
        if program in programs():
            assert programs()[program] == package, program


def test_nothing_is_put_in_and_taken_out_again():
    packages, left_out = listed("packages.txt"), listed("left-out.txt")
    assert len(packages) == len(set(packages)) and len(left_out) == len(set(left_out))
    assert not set(packages) & set(left_out)


def test_both_ways_to_make_the_image_use_the_same_lists_and_steps():
    script = (ROOT / "scripts" / "make-image-root.sh").read_text()
    root = instructions(2)
    for name in ("packages.txt", "left-out.txt", "finish-root.sh"):
        assert name in script and name in root, name
        assert (IMAGE / name).exists()
    for text in (script, instructions(1)):
        assert "scripts/build-image-programs.sh" in text
    # no package by its name beside the list: the lists would differ
    installed = re.findall(r"apt-get install([^;&|]*)", root)
    assert [word for words in installed for word in words.split() if not word.startswith("-")] == []
    assert re.findall(r"--include=\"?([^\"\s]*)", script) == ["usr-is-merged,$packages"]


def test_the_dockerfile_copies_only_what_the_context_holds():
    ignored = (ROOT / ".dockerignore").read_text().split("\n")
    allowed = [line[1:] for line in ignored if line.startswith("!")]
    assert "*" in ignored
    for stage in (1, 2):
        for words in re.findall(r"^COPY (?!--from)(.*)$", instructions(stage), flags=re.MULTILINE):
            for source in words.split()[:-1]:
                assert any(source == place or source.startswith(place + "/") or (source == "Package.*" and place == "Package.swift")
                           for place in allowed), source
                assert list(ROOT.glob(source)), source


def test_the_image_runs_as_a_number_that_is_not_root_with_our_version():
    last = instructions(-1)
    user = re.search(r"^USER (\d+):(\d+)$", last, flags=re.MULTILINE)
    assert user and user[1] != "0" and user[2] != "0"
    assert f"--uid {user[1]} --gid {user[2]}" in (IMAGE / "finish-root.sh").read_text()
    version = re.search(r'"(.+)"', (ROOT / "Sources/Settings/Version.swift").read_text())[1]
    assert f"ARG VERSION={version}\n" in last
    # charts name the program by its path; an entry point would stand in front of it
    assert "ENTRYPOINT" not in last


@pytest.fixture
def root_tar(tmp_path):
    """As small a root file system as there is."""
    (tmp_path / "hello").write_text("hello\n")
    with tarfile.open(tmp_path / "root.tar", "w") as tar:
        tar.add(tmp_path / "hello", "usr/share/hello")
    return tmp_path / "root.tar"


def make_archive(root_tar, target, *arguments):
    return subprocess.run(
        [sys.executable, ROOT / "scripts" / "make-image-oci.py", root_tar, target, *arguments], capture_output=True, text=True,
        env={"PATH": "/usr/bin:/bin", "SOURCE_DATE_EPOCH": "1700000000", "LC_ALL": "C.UTF-8"})


def test_an_oci_archive_names_its_pieces_by_their_digests(root_tar, tmp_path):
    result = make_archive(root_tar, tmp_path / "image.tar", "--name", "registry.example.org:5000/storage/perssd:0.1.0")
    assert result.returncode == 0, result.stderr
    assert re.search(r"^figure image_download_size \d+ MiB$", result.stdout, flags=re.MULTILINE)
    with tarfile.open(tmp_path / "image.tar") as tar:
        files = {entry.name: tar.extractfile(entry).read() for entry in tar if entry.isfile()}
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}

    def piece(descriptor):
        data = files[descriptor["digest"].replace("sha256:", "blobs/sha256/")]
        assert "sha256:" + hashlib.sha256(data).hexdigest() == descriptor["digest"] and len(data) == descriptor["size"]
        return data

    (entry,) = json.loads(files["index.json"])["manifests"]
    assert entry["annotations"] == {
        "io.containerd.image.name": "registry.example.org:5000/storage/perssd:0.1.0", "org.opencontainers.image.ref.name": "0.1.0"}
    manifest = json.loads(piece(entry))
    config = json.loads(piece(manifest["config"]))
    (layer,) = manifest["layers"]
    plain = gzip.decompress(piece(layer))
    assert plain == root_tar.read_bytes()
    assert config["rootfs"] == {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(plain).hexdigest()]}
    assert config["created"] == "2023-11-14T22:13:20Z"
    # what the Dockerfile says, with the values filled in
    assert config["config"]["User"] == "65532:65532" and config["config"]["Cmd"] == ["perssd", "--help"]
    labels = config["config"]["Labels"]
    assert labels.keys() == set(re.findall(r"(org\.opencontainers\.image\.[a-z.]+)=", DOCKERFILE))
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert labels["org.opencontainers.image.created"] == config["created"]
    assert not any("$" in value for value in labels.values())


def test_the_same_root_gives_the_same_archive(root_tar, tmp_path):
    for name in ("one.tar", "two.tar"):
        assert make_archive(root_tar, tmp_path / name).returncode == 0
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_a_name_that_no_registry_could_have_is_refused(root_tar, tmp_path):
    for name in ("perssd", "perssd:0.1.0", "registry.example.org/Perssd:0.1.0", "registry.example.org/perssd", "a/b:0 1"):
        result = make_archive(root_tar, tmp_path / "image.tar", "--name", name)
        assert result.returncode == 2 and "no full name" in result.stderr, name
    assert not (tmp_path / "image.tar").exists()


def test_a_damaged_or_missing_root_leaves_no_archive(root_tar, tmp_path):
    result = make_archive(tmp_path / "nothing.tar", tmp_path / "image.tar")
    assert result.returncode != 0 and not (tmp_path / "image.tar").exists()
    root_tar.write_bytes(root_tar.read_bytes()[:700])
    result = make_archive(root_tar, tmp_path / "image.tar")
    assert result.returncode != 0 and "is no complete tar" in result.stderr
    assert not (tmp_path / "image.tar").exists()


def test_scripts_of_the_image_are_valid_and_refuse_a_wrong_call():
    for name in ("make-image-root.sh", "check-image-root.sh", "build-image-programs.sh"):
        path = ROOT / "scripts" / name
        assert os.access(path, os.X_OK), name
        subprocess.run(["bash", "-n", path], check=True)
    subprocess.run(["sh", "-n", IMAGE / "finish-root.sh"], check=True)
    for name in ("check-image-root.sh", "build-image-programs.sh"):
        result = subprocess.run([ROOT / "scripts" / name], capture_output=True, text=True)
        assert result.returncode == 2 and "usage" in result.stderr
    result = subprocess.run(
        [ROOT / "scripts" / "make-image-root.sh"], capture_output=True, text=True,
        env={**os.environ, "DEBIAN_SNAPSHOT": "yesterday"})
    assert result.returncode == 1 and "DEBIAN_SNAPSHOT is 'yesterday'" in result.stderr
