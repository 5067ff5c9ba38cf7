"""Debian's kernels for the virtual nodes, and the first files in their memory."""

import lzma
import pathlib
import shlex
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
GUEST = pathlib.Path(__file__).resolve().parent / "guest"

# What it takes to reach the machine's root; `guest/start` loads the rest from there.
EARLY_MODULES = ["virtio_pci", "virtio_net", "9pnet_virtio", "9p", "overlay"]


# What is fetched: the kernel of Debian 12, and that of Debian 13.
OWN, NEWER = "test-kernel", "newer-test-kernel"


class Kernel:
    def __init__(self, directory, fetched=OWN):
        """Makes the initial file system below a directory."""
        unpacked = ROOT / ".build" / fetched
        images = sorted(unpacked.glob("boot/vmlinuz-*"))
        if len(images) != 1:
            raise RuntimeError(f"no kernel in {unpacked}: run scripts/install-dependencies.sh test")
        self.image = images[0]
        self.modules = unpacked / "lib" / "modules"
        self.initial_files = directory / "initial-files.cpio"
        self._make_initial_files(directory / "initial-files")

    def _make_initial_files(self, directory):
        for name in ("bin", "modules", "proc", "sys", "dev", "lower", "upper", "root"):
            (directory / name).mkdir(parents=True)
        shutil.copy("/bin/busybox", directory / "bin" / "busybox")
        (directory / "bin" / "sh").symlink_to("busybox")
        shutil.copy(GUEST / "initramfs-init", directory / "init")
        (directory / "settings").write_text(
            f"guest={shlex.quote(str(GUEST))}\nmodules={shlex.quote(str(self.modules))}\n")
        order = []
        for module in self._early_modules():
            name = module.name.removesuffix(".xz")
            if name not in order:
                contents = module.read_bytes()
                # The node's first program loads no module that is compressed.
                (directory / "modules" / name).write_bytes(
                    lzma.decompress(contents) if name != module.name else contents)
                order.append(name)
        (directory / "modules" / "order").write_text("".join(f"{name}\n" for name in order))
        names = "\n".join(str(path.relative_to(directory)) for path in sorted(directory.rglob("*")))
        with open(self.initial_files, "wb") as archive:
            subprocess.run(
                ["cpio", "--create", "--format=newc", "--quiet"], input=names.encode(), stdout=archive, cwd=directory,
                check=True)

    def _early_modules(self):
        """In the order of loading, what others need first."""
        release = next(self.modules.iterdir()).name
        for name in EARLY_MODULES:
            listing = subprocess.run(
                ["modprobe", "-d", self.modules.parents[1], "-S", release, "--show-depends", name],
                check=True, capture_output=True, text=True).stdout
            for line in listing.splitlines():
                action, *rest = line.split()
                if action == "insmod":
                    yield pathlib.Path(rest[0])
