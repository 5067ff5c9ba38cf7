"""Garbage in the bucket is collected without anybody asking for it."""

import re
import time

from cluster import csi


def test_a_controller_collects_by_itself_unless_told_not_to(cluster):
    eager = cluster.start_controller("eager", ["--collection-interval", "1m", "--collection-grace", "1m"])
    idle = cluster.start_controller("idle", ["--collection-interval", "never"])
    deadline = time.monotonic() + 40
    while "collected garbage" not in eager.text():
        assert time.monotonic() < deadline, eager.text()
        time.sleep(0.2)
    assert re.search(r"INFO collected garbage .*removedPacks=0", eager.text())
    assert idle.identity.Probe(csi.ProbeRequest(), timeout=5).ready.value
    assert "collected garbage" not in idle.text()
