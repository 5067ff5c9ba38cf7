"""Runs in a virtual node and does there what the tests outside ask for.

One request a connection, and one answer: each a header in JSON and bytes, both preceded by their length. What a request
runs has a process group of its own, and is killed with it when its time is up.
"""

import json
import os
import signal
import socketserver
import struct
import subprocess
import time

PORT = 9000
LENGTHS = struct.Struct(">II")

# What `start` has begun, by process id.
background = {}


def receive(stream):
    lengths = stream.read(LENGTHS.size)
    if len(lengths) < LENGTHS.size:
        return None, None
    header_length, payload_length = LENGTHS.unpack(lengths)
    return json.loads(stream.read(header_length)), stream.read(payload_length)


def send(stream, header, payload=b""):
    text = json.dumps(header).encode()
    stream.write(LENGTHS.pack(len(text), len(payload)) + text + payload)
    stream.flush()


def end_group(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def run(request, payload):
    process = subprocess.Popen(
        request["command"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, **request["environment"]}, start_new_session=True)
    timed_out = False
    try:
        out, err = process.communicate(payload, timeout=request["timeout"])
    except subprocess.TimeoutExpired:
        timed_out = True
        end_group(process)
        try:
            out, err = process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            # It waits in the kernel, where no signal reaches it.
            out, err = b"", b""
    return {"status": process.returncode, "timedOut": timed_out, "outLength": len(out)}, out + err


def start(request, _):
    with open(request["log"], "ab") as log:
        process = subprocess.Popen(
            request["command"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env={**os.environ, **request["environment"]}, start_new_session=True)
    background[process.pid] = process
    return {"pid": process.pid}, b""


def poll(request, _):
    return {"status": background[request["pid"]].poll()}, b""


def send_signal(request, _):
    background[request["pid"]].send_signal(request["signal"])
    return {}, b""


def write(request, payload):
    """A file, or a part of one, that is on the drive when this returns."""
    with open(request["path"], "r+b" if request["offset"] is not None else "wb") as file:
        file.seek(request["offset"] or 0)
        file.write(payload)
        file.flush()
        os.fsync(file.fileno())
    return {}, b""


def read(request, _):
    with open(request["path"], "rb") as file:
        return {}, file.read()


def set_clock(request, _):
    """The difference that there was, in seconds. The emulated clock may run fast where the machine is busy."""
    difference = time.time() - request["time"]
    if abs(difference) > 0.5:
        time.clock_settime(time.CLOCK_REALTIME, request["time"])
    return {"difference": difference}, b""


ACTIONS = {
    "run": run, "start": start, "poll": poll, "signal": send_signal, "write": write, "read": read, "clock": set_clock,
}


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        request, payload = receive(self.rfile)
        if request is None:
            return
        try:
            answer = ACTIONS[request["action"]](request, payload)
        except (OSError, KeyError, ValueError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}, b""
        send(self.wfile, *answer)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64


with Server(("0.0.0.0", PORT), Handler) as server:
    server.serve_forever()
