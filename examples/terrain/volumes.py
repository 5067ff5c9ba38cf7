"""The workflow on volumes of PerSSD, with what an engine, the sidecars and kubelet do for it in Kubernetes."""

import collections
import concurrent.futures
import pathlib
import shutil
import tempfile
import threading

from cluster import Cluster, csi, mount, patiently, until_ready
from ways import NODES, SPREAD, TOGETHER, Way
from workflow import PARAMETERS

READ_BY_MANY = mount(mode="MULTI_NODE_READER_ONLY")


class Attachment:
    """Of a volume to a node, for as long as a pod there uses it. Whoever comes while it is being taken away waits."""

    def __init__(self):
        self.lock, self.pods = threading.Lock(), 0


class Volumes(Way):
    """Each claim is a volume. Pods on several nodes read a snapshot of what another pod has written, through a ReadOnlyMany claim of
    it; pods on the one node that has the volume share it.

    `parameters` are those of the StorageClass, `intermediate` those of the class for what only later steps read.
    """

    def __init__(self, bench, nodes=SPREAD, parameters=None, intermediate=None):
        super().__init__(bench, nodes)
        self.parameters = parameters or {}
        self.intermediate = self.parameters if intermediate is None else intermediate
        self.keeps = "all" if intermediate is None else "results"
        self.claims, self.readers = {}, {}
        self.attachments = collections.defaultdict(Attachment)
        self.attachments_lock = threading.Lock()
        server = bench.server
        # Sockets have short paths.
        directory = pathlib.Path(tempfile.mkdtemp(prefix="c-", dir=bench.workplace))
        self.cluster = Cluster(bench.binaries, directory, (
            [f"s3://{server.bucket}/{bench.prefix()}", "--store-endpoint", server.endpoint], server.environment))
        self.cluster.log_level = "info"

    def __enter__(self):
        try:
            self.cluster.start_controller()
            for node in NODES:
                self.cluster.start_node(
                    node, size=f"{self.bench.pool_bytes}", pool=self.bench.drive(node) / "pool")
        except BaseException:
            self.cluster.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.cluster.__exit__()

    def before(self, stage):
        """The engine makes the claims that the stage's pods name."""
        for pod in stage:
            is_result = pod.writes in PARAMETERS
            self.claims[pod.writes] = self.cluster.create(
                pod.writes, size=self.bench.work.size(pod.writes),
                parameters=self.parameters if is_result else self.intermediate)
        if len(self.nodes) > 1:
            names = {name for pod in stage for name in pod.reads} - set(self.readers)
            with concurrent.futures.ThreadPoolExecutor() as pool:
                self.readers.update(zip(names, pool.map(self._make_readable, names)))

    def _make_readable(self, name):
        """A VolumeSnapshot, whether the volume's last pod is already gone or not, and a ReadOnlyMany claim of it."""
        snapshot = until_ready(lambda: self.cluster.controller.CreateSnapshot(csi.CreateSnapshotRequest(
            name=f"snapshot-{name}", source_volume_id=self.claims[name].volume_id), timeout=60).snapshot, seconds=600)
        source = csi.VolumeContentSource(
            snapshot=csi.VolumeContentSource.SnapshotSource(snapshot_id=snapshot.snapshot_id))
        request = csi.CreateVolumeRequest(
            name=f"{name}-read", volume_capabilities=[READ_BY_MANY], volume_content_source=source,
            capacity_range=csi.CapacityRange(required_bytes=snapshot.size_bytes), parameters=self.intermediate)
        return patiently(lambda: self.cluster.controller.CreateVolume(request, timeout=60)).volume

    def _used(self, pod):
        """Each volume of a pod, by name, with how the pod has it."""
        for name in pod.reads:
            if name in self.readers:
                yield name, self.readers[name], READ_BY_MANY, True
            else:
                yield name, self.claims[name], mount(), True
        yield pod.writes, self.claims[pod.writes], mount(), False

    def _attachment(self, volume, node):
        with self.attachments_lock:
            return self.attachments[volume.volume_id, node]

    def set_up(self, pod):
        def publish(used):
            name, volume, capability, readonly = used
            attachment = self._attachment(volume, pod.node)
            with attachment.lock:
                attachment.pods += 1
                return name, self.cluster.publish(
                    volume, pod.node, pod=f"{pod.name}-{name}", capability=capability, readonly=readonly,
                    attach_readonly=False)

        with concurrent.futures.ThreadPoolExecutor() as pool:
            return dict(pool.map(publish, self._used(pod)))

    def tear_down(self, pod):
        def unpublish(used):
            name, volume, *_ = used
            self.cluster.unpublish(volume, pod.node, pod=f"{pod.name}-{name}", detach=False)
            attachment = self._attachment(volume, pod.node)
            with attachment.lock:
                attachment.pods -= 1
                if attachment.pods == 0:
                    # Answered when all is committed, as the volume's head in the bucket says.
                    self.cluster.detach(volume, pod.node)

        with concurrent.futures.ThreadPoolExecutor() as pool:
            list(pool.map(unpublish, self._used(pod)))

    def settle(self):
        if self.keeps == "results":
            for name, volume in self.claims.items():
                if name not in PARAMETERS:
                    self.cluster.delete(volume)

    def fetch_results(self, directory):
        """On another node than wrote them, which restores them from the bucket."""
        for number, parameter in enumerate(PARAMETERS):
            written_on = self.nodes[number % len(self.nodes)]
            (other,) = set(NODES) - {written_on}
            path = self.cluster.publish(self.claims[parameter], other, pod="check", readonly=True)
            shutil.copytree(path, directory / parameter, ignore=shutil.ignore_patterns("lost+found"))
            self.cluster.unpublish(self.claims[parameter], other, pod="check")


def on_unpublish(bench):
    return Volumes(bench)


def in_background(bench):
    return Volumes(bench, parameters={"stageOut": "background"})


def together_in_background(bench):
    """All pods on the node that has the volumes."""
    return Volumes(bench, nodes=TOGETHER, parameters={"stageOut": "background"})


def delayed(bench):
    """The same, and what only later steps read is not staged out while they follow one another; nobody needs it afterwards."""
    return Volumes(
        bench, nodes=TOGETHER, parameters={"stageOut": "background"},
        intermediate={"stageOut": "background", "stageOutDelay": "1h"})
