"""QEMU's monitor."""

import json
import socket
import time


class Monitor:
    """One connection to the monitor of a running machine (QEMU Machine Protocol)."""

    def __init__(self, path, timeout=30):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(str(path))
        self.stream = self.socket.makefile("rwb")
        self.events = []
        self._message()
        self.call("qmp_capabilities")

    def close(self):
        self.stream.close()
        self.socket.close()

    def call(self, command, **arguments):
        self.stream.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        self.stream.flush()
        while True:
            message = self._message()
            if "error" in message:
                raise RuntimeError(f"QEMU: {command}: {message['error']['desc']}")
            if "return" in message:
                return message["return"]
            self.events.append(message)

    def wait_for(self, event, seconds, **data):
        """Waits for an event with this data."""
        deadline = time.monotonic() + seconds
        while True:
            for message in self.events:
                if message.get("event") == event and data.items() <= message.get("data", {}).items():
                    self.events.remove(message)
                    return
            if time.monotonic() > deadline:
                raise RuntimeError(f"QEMU: no {event} {data} within {seconds} s")
            self.events.append(self._message())

    def _message(self):
        line = self.stream.readline()
        if not line:
            raise RuntimeError("QEMU has closed its monitor")
        return json.loads(line)
