"""What a plugin's log says of calls: a line for each, written once gRPC has let go of the call, which may be after its answer came."""

import re

from cluster import csi
from waiting import wait_for

LINE = re.compile(r"^\S+ [A-Z]+ (\w+) (.*\bcode=OK\b.*)\n", re.MULTILINE)


def succeeded(process, method):
    """The fields of each such call's line."""
    return [dict(re.findall(r"(\w+)=(\S+)", fields)) for name, fields in LINE.findall(process.text()) if name == method]


def with_line(process, method, call):
    """Makes a call of that method, and waits for its line; returns what it came to, and the line's fields."""
    before = len(succeeded(process, method))
    value = call()
    lines = wait_for(f"the line of {method}", lambda: succeeded(process, method), lambda found: len(found) > before)
    return value, lines[-1]


def with_cost(process, method, call, field):
    """Makes a call; returns what it came to, and what it took of what the lines count for the whole process, as storeRequests."""
    # A call that asks the store for nothing, and after all that came before.
    idle = {"NodePublishVolume": ("NodeGetCapabilities", process.node, csi.NodeGetCapabilitiesRequest())}.get(
        method, ("ControllerGetCapabilities", process.controller, csi.ControllerGetCapabilitiesRequest()))
    name, service, request = idle
    _, before = with_line(process, name, lambda: getattr(service, name)(request, timeout=60))
    value, after = with_line(process, method, call)
    return value, int(after[field]) - int(before[field])
