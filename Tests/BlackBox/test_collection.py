"""Garbage in the bucket is collected without anybody asking for it."""

import re

from cluster import csi
from waiting import wait_for_words


def test_a_controller_collects_by_itself_unless_told_not_to(cluster):
    # First, so that it would have collected by the time the other one has.
    idle = cluster.start_controller("idle", ["--collection-interval", "never"])
    eager = cluster.start_controller("eager", ["--collection-interval", "1m", "--collection-grace", "1m"])
    assert re.search(r"INFO collected garbage .*removedPacks=0", wait_for_words(eager, "collected garbage"))
    assert idle.identity.Probe(csi.ProbeRequest(), timeout=30).ready.value
    assert "collected garbage" not in idle.text()
