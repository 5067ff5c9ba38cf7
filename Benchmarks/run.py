#!/usr/bin/env python3
"""What PerSSD costs, beside what the same work costs others: see docs/benchmarks.md. `make bench` calls it.

    Benchmarks/run.py PERSSD-BENCH WEED [--block-sizes]

PERSSD_BENCH_SIZE (2GiB) and PERSSD_BENCH_ROUNDS (3) make it smaller. Figures are printed as lines `figure NAME VALUE UNIT`.
"""

import os
import pathlib
import re
import secrets
import shutil
import statistics
import sys

from contenders import Parts, PerSSD, Rclone, Restic
from processes import SeaweedFS, Workplace, run

MIB = 1 << 20
GIB = 1 << 30
TIB = 1 << 40


def size_in_bytes(text):
    match = re.fullmatch(r"(\d+)(MiB|GiB)", text)
    size = int(match[1]) * (MIB if match[2] == "MiB" else GIB) if match else 0
    if not size or size % (4 * MIB):
        raise SystemExit(f"PERSSD_BENCH_SIZE is '{text}': give a multiple of 4 MiB, such as 256MiB or 2GiB")
    return size


def figure(name, value, unit):
    print(f"figure {name} {value:.3f} {unit}" if isinstance(value, float) else f"figure {name} {value} {unit}",
          flush=True)


def note(text):
    print(f"# {text}", flush=True)


class Benchmark:
    def __init__(self, program, workplace, server):
        self.program, self.workplace, self.server = program, workplace, server
        self.size = size_in_bytes(os.environ.get("PERSSD_BENCH_SIZE", "2GiB"))
        self.rounds = int(os.environ.get("PERSSD_BENCH_ROUNDS", "3"))
        # One percent: 21 MB of 2 GiB.
        self.changed_bytes = self.size // 100 // 4096 * 4096
        self.bucket = "perssd-bench-" + secrets.token_hex(6)
        self.rclone = Rclone(server, self.bucket, workplace)
        self.rclone.make_bucket()
        self.parts = Parts(server, self.bucket, workplace)
        self.image = workplace / "volume.img"
        self.restic = None
        self.node_change = None

    def perssd(self, prefix):
        return PerSSD(self.program, self.server, self.bucket, prefix, self.workplace)

    def make_image(self):
        run([self.program, "make-image", "--image", self.image, "--bytes", self.size])
        self.settle()

    def settle(self):
        """Nobody pays for what the one before left to be written."""
        os.sync()

    # Rounds: every contender in turn, so that what else the machine does meets all alike.

    def measure_rounds(self):
        first_write = self.workplace / "first"
        first_write.write_bytes(b"a server's first write into a bucket is slow")
        self.rclone.copy_out(first_write, "first")
        rounds = [self.round(number) for number in range(self.rounds)]

        def ratio(name, numerator, denominator, attribute="wall"):
            values = []
            for costs in rounds:
                below = denominator(costs) if callable(denominator) else getattr(costs[denominator], attribute)
                values.append(getattr(costs[numerator], attribute) / below)
            figure(name, statistics.median(values), "ratio")
            note(f"  rounds: {', '.join(f'{value:.2f}' for value in values)}")

        for name in rounds[0]:
            figure(f"{name}_wall", statistics.median(costs[name].wall for costs in rounds), "s")
            figure(f"{name}_cpu", statistics.median(costs[name].cpu for costs in rounds), "s")
        ratio("stage_out_cpu_over_zstd_and_sha256", "stage_out",
              lambda costs: costs["zstd"].cpu + costs["sha256"].cpu, "cpu")
        ratio("stage_out_wall_over_zstd_and_sha256", "stage_out",
              lambda costs: costs["zstd"].wall + costs["sha256"].wall)
        for other in ("rclone_rcat", "rclone_copyto", "restic_backup"):
            ratio(f"stage_out_wall_over_{other}", "stage_out", other)
        for other in ("rclone_copyto", "restic_backup"):
            ratio(f"stage_out_cpu_over_{other}", "stage_out", other, "cpu")
        ratio("restore_wall_over_slowest_part", "restore",
              lambda costs: max(costs[part].wall for part in ("get", "decompress", "write")))
        for other in ("rclone_back", "restic_restore"):
            ratio(f"restore_wall_over_{other}", "restore", other)
        staged = rounds[-1]["stage_out"].json
        figure("stage_out_sent_over_volume", staged["sentBytes"] / self.size, "ratio")
        figure("stage_out_requests", staged["requests"], "requests")
        figure("restore_requests", rounds[-1]["restore"].json["requests"], "requests")
        figure("stage_out_peak_memory", max(costs["stage_out"].peak for costs in rounds) / MIB, "MiB")
        figure("restore_peak_memory", max(costs["restore"].peak for costs in rounds) / MIB, "MiB")

    def round(self, number):
        note(f"round {number + 1} of {self.rounds}")
        image, back, compressed = self.image, self.workplace / "back.img", self.workplace / "volume.zst"
        perssd = self.perssd(f"round-{number}")
        self.restic = restic = Restic(self.server, self.bucket, f"restic-{number}", self.workplace)
        costs = {}

        def measure(name, body):
            self.settle()
            costs[name] = body()
            note(f"  {name}: {costs[name].wall:.1f} s")

        measure("zstd", lambda: self.parts.compress(image))
        measure("sha256", lambda: self.parts.digest(image))
        measure("stage_out", lambda: perssd.stage_out(image))
        measure("rclone_rcat", lambda: self.rclone.rcat(image, f"rcat-{number}"))
        measure("rclone_copyto", lambda: self.rclone.copy_out(image, f"copy-{number}"))
        measure("restic_backup", lambda: restic.backup(image))

        run(["zstd", "-1", "-q", "-f", "-o", compressed, image])
        keys = self.rclone.keys(perssd.prefix)
        measure("get", lambda: self.parts.get(keys))
        measure("decompress", lambda: self.parts.decompress(compressed))
        measure("write", lambda: self.parts.write(image, back))
        back.unlink()
        measure("restore", lambda: perssd.restore(back))
        run(["cmp", image, back])
        back.unlink()
        measure("rclone_back", lambda: self.rclone.copy_back(f"copy-{number}", back))
        back.unlink()
        measure("restic_restore", lambda: restic.restore())
        shutil.rmtree(restic.directory)
        compressed.unlink()
        return costs

    # A volume in a node's pool

    def measure_node(self):
        note("a volume of a pool on XFS, staged out as a node does")
        pool = self.workplace.make_reflink_directory("pool", 3 * self.size + GIB)
        steps = self.perssd("node").node(pool / "images", self.image, self.changed_bytes).json

        def beyond(step):
            return (step["wallSeconds"] - step["serverSeconds"]) * 1000

        for name, done in (("unchanged", steps["unchanged"]), ("unchanged_compared", steps["compared"])):
            figure(f"{name}_requests", max(step["requests"] for step in done), "requests")
            figure(f"{name}_beyond_server", statistics.median(beyond(step) for step in done), "ms")
            figure(f"{name}_server", statistics.median(step["serverSeconds"] for step in done) * 1000, "ms")
        self.node_change = steps["changed"]

    # After a small change

    def measure_change(self):
        note(f"{self.changed_bytes} bytes changed in place, in random pages of 4 KiB")
        perssd = self.perssd(f"round-{self.rounds - 1}")
        repository = f"restic-{self.rounds - 1}"
        before = self.rclone.size(repository)
        base = self.workplace / "base.img"
        shutil.copyfile(self.image, base)
        run([self.program, "change-image", "--image", self.image, "--changed-bytes", self.changed_bytes])
        self.settle()
        cost = self.restic.backup(self.image)
        after = self.rclone.size(repository)
        restic_bytes = after[1] - before[1]
        node = self.node_change
        blocks = perssd.stage_out(self.image, root="blocks", parent="first", changed_bytes=self.changed_bytes).json
        patched = perssd.stage_out(
            self.image, root="patched", parent="first", base=base, changed_bytes=self.changed_bytes).json
        # As a node does it, and without a pool: whole blocks, and patches.
        for name, step in (("changed", node), ("changed_as_blocks", blocks), ("changed_as_patches", patched)):
            figure(f"{name}_sent", step["sentBytes"] / MIB, "MiB")
            figure(f"{name}_sent_over_restic", step["sentBytes"] / restic_bytes, "ratio")
            figure(f"{name}_sent_over_change", step["sentBytes"] / self.changed_bytes, "ratio")
            figure(f"{name}_stored_over_change", step["storedBytes"] / self.changed_bytes, "ratio")
            figure(f"{name}_read", step["readBytes"] / MIB, "MiB")
            figure(f"{name}_requests", step["requests"], "requests")
            figure(f"{name}_wall", step["wallSeconds"], "s")
            figure(f"{name}_wall_over_restic", step["wallSeconds"] / cost.wall, "ratio")
            figure(f"{name}_blocks", step["blocksChanged"], "blocks")
        figure("restic_changed_sent", restic_bytes / MIB, "MiB")
        figure("restic_changed_wall", cost.wall, "s")
        figure("restic_changed_objects", after[0] - before[0], "objects")
        back = self.workplace / "patched-back.img"
        perssd.restore(back, root="patched")
        run(["cmp", self.image, back])
        back.unlink()
        delta = perssd.restore(base, root="patched", have="first").json
        run(["cmp", self.image, base])
        figure("delta_restore_received_over_change", delta["receivedBytes"] / self.changed_bytes, "ratio")
        figure("delta_restore_requests", delta["requests"], "requests")
        base.unlink()

    # A large volume with little in it

    def measure_large(self):
        note("a volume of 1 TiB with as much in it as the one before")
        large, back = self.workplace / "large.img", self.workplace / "large-back.img"
        run([self.program, "make-image", "--image", large, "--bytes", self.size, "--nominal-bytes", TIB])
        self.settle()
        perssd = self.perssd("large")
        staged = perssd.stage_out(large)
        figure("stage_out_1tib_peak_memory", staged.peak / MIB, "MiB")
        figure("stage_out_1tib_wall", staged.wall, "s")
        self.settle()
        restored = perssd.restore(back)
        figure("restore_1tib_peak_memory", restored.peak / MIB, "MiB")
        figure("restore_1tib_wall", restored.wall, "s")
        large.unlink()
        back.unlink()

    # The size of a block

    def measure_block_sizes(self):
        base = self.workplace / "base.img"
        changed = self.workplace / "changed.img"
        shutil.copyfile(self.image, base)
        shutil.copyfile(self.image, changed)
        run([self.program, "change-image", "--image", changed, "--changed-bytes", self.changed_bytes])
        for kib in (64, 128, 256, 512, 1024, 2048, 4096):
            self.settle()
            perssd = self.perssd(f"block-{kib}")
            costs = [perssd.stage_out(self.image, block_size=kib << 10) for _ in range(self.rounds)]
            first = costs[-1].json
            small = perssd.stage_out(changed, root="changed", parent="first", changed_bytes=self.changed_bytes)
            patched = perssd.stage_out(
                changed, root="patched", parent="first", base=base, changed_bytes=self.changed_bytes)
            name = f"block_{kib}KiB"
            figure(f"{name}_cpu", statistics.median(cost.cpu for cost in costs), "s")
            figure(f"{name}_stored_over_volume", first["storedBytes"] / self.size, "ratio")
            figure(f"{name}_map_bytes_over_volume", (first["sentBytes"] - first["storedBytes"]) / self.size, "ratio")
            figure(f"{name}_change_sent", small.json["sentBytes"] / MIB, "MiB")
            figure(f"{name}_change_cpu", small.cpu, "s")
            figure(f"{name}_change_sent_with_patches", patched.json["sentBytes"] / MIB, "MiB")
            figure(f"{name}_change_cpu_with_patches", patched.cpu, "s")


def main():
    arguments = [word for word in sys.argv[1:] if word != "--block-sizes"]
    if len(arguments) != 2:
        raise SystemExit(__doc__)
    if os.geteuid() != 0:
        raise SystemExit("the benchmark mounts a file system for a pool: run it as root")
    program, weed = (pathlib.Path(word).resolve() for word in arguments)
    with Workplace() as workplace:
        server = SeaweedFS(workplace / "seaweedfs", weed)
        try:
            benchmark = Benchmark(program, workplace, server)
            figure("volume_size", benchmark.size // MIB, "MiB")
            benchmark.make_image()
            if "--block-sizes" in sys.argv:
                benchmark.measure_block_sizes()
            else:
                benchmark.measure_rounds()
                benchmark.measure_node()
                benchmark.measure_change()
                benchmark.measure_large()
        finally:
            server.stop()


if __name__ == "__main__":
    main()
