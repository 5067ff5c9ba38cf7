"""What stages out and restores: PerSSD, and what it is compared with, each as processes of its own."""

import secrets

from processes import run

EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


class PerSSD:
    """One store below a prefix of its own."""

    def __init__(self, program, server, bucket, prefix, workplace):
        self.program, self.prefix, self.bucket, self.workplace = program, prefix, bucket, workplace
        self.environment = {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}
        self.store = ["--endpoint", server.endpoint, "--bucket", bucket, "--prefix", prefix]

    def root(self, name):
        return self.workplace / f"{self.prefix}-{name}.json"

    def stage_out(self, image, root="first", parent=None, base=None, block_size=None, changed_bytes=None):
        options = ["--image", image, "--root", self.root(root)]
        if parent:
            options += ["--parent", self.root(parent)]
        if base:
            options += ["--base", base]
        if block_size:
            options += ["--block-size", block_size]
        if changed_bytes:
            options += ["--changed-bytes", changed_bytes]
        return self._run("stage-out", options)

    def restore(self, image, root="first", have=None):
        options = ["--have", self.root(have)] if have else []
        return self._run("restore", ["--root", self.root(root), "--image", image, *options])

    def node(self, pool, image, changed_bytes):
        """Stages out a volume of a pool: first, unchanged, and after a small change."""
        return self._run("node", ["--pool", pool, "--image", image, "--changed-bytes", changed_bytes])

    def _run(self, command, options):
        return run([self.program, command, *self.store, *options], self.environment, keep_output=True)


class Rclone:
    """Configured by its environment alone."""

    def __init__(self, server, bucket, workplace):
        self.bucket = bucket
        self.environment = {
            "RCLONE_CONFIG": "/dev/null", "RCLONE_CACHE_DIR": str(workplace / "rclone-cache"),
            "RCLONE_CONFIG_BENCH_TYPE": "s3", "RCLONE_CONFIG_BENCH_PROVIDER": "Other",
            "RCLONE_CONFIG_BENCH_ENDPOINT": server.endpoint, "RCLONE_CONFIG_BENCH_REGION": server.region,
            "RCLONE_CONFIG_BENCH_ACCESS_KEY_ID": server.access_key,
            "RCLONE_CONFIG_BENCH_SECRET_ACCESS_KEY": server.secret_key,
        }

    def _run(self, *words, **options):
        return run(["rclone", *words], self.environment, **options)

    def make_bucket(self):
        self._run("mkdir", f"bench:{self.bucket}")

    def copy_out(self, image, key):
        return self._run("copyto", image, f"bench:{self.bucket}/{key}")

    def rcat(self, image, key):
        return self._run("rcat", f"bench:{self.bucket}/{key}", stdin=image)

    def copy_back(self, key, image):
        return self._run("copyto", f"bench:{self.bucket}/{key}", image)

    def keys(self, prefix):
        listing = self._run("lsf", "-R", "--files-only", f"bench:{self.bucket}/{prefix}", keep_output=True).output
        return [f"{prefix}/{name}" for name in listing.decode().splitlines()]

    def size(self, prefix):
        """Objects below a prefix, and their bytes."""
        answer = self._run("size", "--json", f"bench:{self.bucket}/{prefix}", keep_output=True).json
        return answer["count"], answer["bytes"]


class Restic:
    """A repository below a prefix of its own."""

    def __init__(self, server, bucket, prefix, workplace):
        self.directory = workplace / f"{prefix}-back"
        self.environment = {
            "RESTIC_REPOSITORY": f"s3:{server.endpoint}/{bucket}/{prefix}", "RESTIC_PASSWORD": secrets.token_hex(20),
            "RESTIC_CACHE_DIR": str(workplace / f"{prefix}-cache"), "AWS_ACCESS_KEY_ID": server.access_key,
            "AWS_SECRET_ACCESS_KEY": server.secret_key, "AWS_DEFAULT_REGION": server.region,
        }
        run(["restic", "init"], self.environment)

    def backup(self, image):
        return run(["restic", "backup", image], self.environment)

    def restore(self):
        return run(["restic", "restore", "latest", "--target", self.directory], self.environment)


class Parts:
    """The least that anything must do that stages out or restores the same bytes."""

    def __init__(self, server, bucket, workplace):
        self.server, self.bucket, self.workplace = server, bucket, workplace

    def compress(self, image):
        return run(["zstd", "-1", "-q", "-T1", "-c", image])

    def digest(self, image):
        return run(["openssl", "dgst", "-sha256", image])

    def get(self, keys):
        """The same objects, by an independent client, to nowhere."""
        config = self.workplace / "curl.conf"
        lines = [
            "silent", "show-error", "fail", "parallel", "parallel-max = 8",
            f'aws-sigv4 = "aws:amz:{self.server.region}:s3"',
            f'user = "{self.server.access_key}:{self.server.secret_key}"',
            f'header = "x-amz-content-sha256: {EMPTY_SHA256}"']
        for key in keys:
            lines += [f'url = "{self.server.endpoint}/{self.bucket}/{key}"', 'output = "/dev/null"']
        config.touch(mode=0o600)
        config.write_text("\n".join(lines) + "\n")
        return run(["curl", "--config", config])

    def decompress(self, compressed):
        return run(["zstd", "-d", "-q", "-c", compressed])

    def write(self, image, copy):
        return run(["dd", f"if={image}", f"of={copy}", "bs=1M", "conv=fsync", "status=none"])


