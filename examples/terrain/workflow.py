"""The workflow: pods, the directories that they know, and the order that they run in."""

import concurrent.futures
import dataclasses
import os
import pathlib
import signal
import subprocess
import threading
import time

from servers import DIE_WITH_PARENT

STEPS = pathlib.Path(__file__).resolve().parent / "steps"
PARAMETERS = ("slope", "aspect", "hillshade")
MIB = 1 << 20


@dataclasses.dataclass
class Pod:
    """A step that runs once. `command` makes its argument vector of a function that says where a volume's directory is."""

    name: str
    node: str
    command: object
    reads: list = dataclasses.field(default_factory=list)
    writes: str = ""


@dataclasses.dataclass
class Work:
    """What is computed, and of what: an elevation model of side x side pixels, cut into grid x grid tiles for so many workers."""

    elevation: pathlib.Path
    side: int
    grid: int
    workers: int

    @property
    def groups(self):
        return [f"parameters-{number}" for number in range(self.workers)]

    def stages(self, nodes):
        """Each stage's pods run side by side, and read what stages before have written. `nodes` are taken in turns."""
        node = lambda number: nodes[number % len(nodes)]  # noqa: E731
        grid = str(self.grid)
        yield [Pod("cut", node(0), lambda at: [STEPS / "cut.sh", self.elevation, at("tiles"), grid], writes="tiles")]
        yield [
            Pod(group, node(number), lambda at, group=group, number=number: [
                STEPS / "parameters.sh", at("tiles"), at(group), grid, str(number), str(self.workers)],
                reads=["tiles"], writes=group)
            for number, group in enumerate(self.groups)]
        yield [
            Pod(f"mosaic-{parameter}", node(number), lambda at, parameter=parameter: [
                STEPS / "mosaic.sh", parameter, at(parameter), grid, *map(at, self.groups)],
                reads=self.groups, writes=parameter)
            for number, parameter in enumerate(PARAMETERS)]

    def size(self, volume):
        """What a volume has to hold, in bytes, with some room for a file system's own."""
        pixels = self.side**2
        if volume == "tiles":
            needed = 4 * (self.side + 2 * 8 * self.grid) ** 2
        elif volume in PARAMETERS:
            needed = 4 * pixels
        else:
            # Two outputs of floats and one of bytes.
            needed = 9 * pixels * (1 + self.workers / self.grid**2) / self.workers
        return int(needed * 1.1) + 64 * MIB


class Failed(Exception):
    """A step's process failed; what it said."""


class Processes:
    """The pods' processes, so that none is left when the workflow ends early."""

    def __init__(self):
        self._running, self._lock, self._over = set(), threading.Lock(), False

    def run(self, command, environment=None):
        with self._lock:
            if self._over:
                raise Failed("the workflow is being ended")
            process = subprocess.Popen(
                DIE_WITH_PARENT + [str(word) for word in command], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, process_group=0)
            self._running.add(process)
        try:
            output, _ = process.communicate()
        finally:
            with self._lock:
                self._running.discard(process)
        if process.returncode != 0:
            raise Failed(f"{pathlib.Path(str(command[0])).name} ended with {process.returncode}: {output[-3000:]}")
        return output

    def end(self):
        with self._lock:
            self._over = True
            for process in self._running:
                try:
                    # The programs that a step has started, too.
                    os.killpg(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass


@dataclasses.dataclass
class Times:
    """Seconds since the first pod was made."""

    makespan: float
    durable: float


def run(way, work):
    """Runs the workflow in one way. A stage begins when the steps before have ended, as an engine sees it; what is done behind a pod
    goes on meanwhile, and is over when everything is durable."""
    start = time.monotonic()
    processes = way.processes
    with concurrent.futures.ThreadPoolExecutor(max_workers=2 * work.workers + 8) as pool:
        behind = []

        def run_pod(pod):
            directories = way.set_up(pod)
            processes.run(pod.command(directories.__getitem__))
            way.finish(pod)
            return pool.submit(way.tear_down, pod)

        try:
            for stage in way.stages(work):
                way.before(stage)
                behind += [future.result() for future in [pool.submit(run_pod, pod) for pod in stage]]
            makespan = time.monotonic() - start
            for future in behind:
                future.result()
            way.settle()
        except BaseException:
            processes.end()
            raise
    return Times(makespan, time.monotonic() - start)
