"""A bucket that is away when a plugin starts is waited for; what would not pass by itself ends the plugin as ever."""

import contextlib
import http.server
import pathlib
import re
import secrets
import signal
import socket
import tempfile
import threading
import time
import urllib.error
import urllib.request

import pytest

from cluster import Cluster, Process, csi, mount, refused
from servers import free_port
from waiting import wait_for, wait_for_words

PROGRAMS = ["perssd-node", "perssd-controller"]


class Forwarder:
    """A port that leads to a server, from now on."""

    def __init__(self, port, target):
        self.target, self.ends = target, []
        self.listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(self.target)
            self.ends += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._copy, args=(source, sink), daemon=True).start()

    @staticmethod
    def _copy(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
        Forwarder._end(source, sink)

    @staticmethod
    def _end(*ends):
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self):
        """The server is away again."""
        self._end(self.listener, *self.ends)


class Waiting(Process):
    """One that is not waited for."""

    def connect(self, address, name, **_):
        self.open(address)


class Away(Cluster):
    """Plugins whose bucket is behind a port that leads nowhere yet."""

    def __init__(self, binaries, directory, server):
        self.server, self.port = server, free_port()
        store = [f"s3://{server.bucket}/away/{secrets.token_hex(4)}", "--store-endpoint", f"http://127.0.0.1:{self.port}"]
        super().__init__(binaries, directory, (store, server.environment))
        self.log_level = None
        self.forwarder = None

    def begin(self, program, *arguments):
        (self.directory / "pool").mkdir(exist_ok=True)
        (self.directory / "n" / "pods").mkdir(parents=True, exist_ok=True)
        command = [
            str(self.binaries / program), "--endpoint", f"unix://{self.directory}/n.sock", "--node-id", "n",
            "--metrics-listen", "127.0.0.1:0", "--store", *self.store_arguments, "--cluster", self.name, *arguments]
        if program == "perssd-node":
            command += ["--pool", f"directory={self.directory}/pool,size=1GiB", "--state-directory",
                        str(self.directory / "state")]
        self.processes["n"] = Waiting(command, self.environment, self.directory / "n.sock", self.directory / "n.log")
        return self.processes["n"]

    def come(self):
        host, port = self.server.endpoint.removeprefix("http://").split(":")
        self.forwarder = Forwarder(self.port, (host, int(port)))

    def __exit__(self, *arguments):
        super().__exit__(*arguments)
        if self.forwarder:
            self.forwarder.close()


@pytest.fixture
def away(binaries, workplace, seaweedfs):
    with Away(binaries, pathlib.Path(tempfile.mkdtemp(prefix="away-", dir=workplace)), seaweedfs) as cluster:
        yield cluster


def until(what, look, process, condition=bool):
    return wait_for(what, look, condition, over=process.has_ended)


def asked(process, path):
    found = until("where metrics are served", lambda: re.search(r"metrics are served .*endpoint=tcp://(\S+)\s", process.text()), process)
    address = found.group(1)
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def until_ready(process):
    until("that it is ready", lambda: asked(process, "/readyz"), process, lambda answer: answer[0] == 200)


def warnings(process):
    return [line for line in process.text().splitlines() if re.search(r" (WARNING|ERROR|CRITICAL) ", line)]


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_plugin_waits_for_its_bucket_and_says_why(away, program):
    process = away.begin(program)
    # Before the first try has failed, too.
    status, text = asked(process, "/readyz")
    assert status == 503 and ("starting" in text or "waits for its store" in text), text
    assert asked(process, "/healthz") == (200, "ok\n")
    until("a warning", lambda: warnings(process), process)
    status, text = asked(process, "/readyz")
    assert status == 503 and "the plugin waits for its store since" in text and f"127.0.0.1:{away.port}" in text, text
    assert "perssd_build_info" in asked(process, "/metrics")[1]

    # Sidecars, which end where there is no socket, hear who it is, and that it is not ready.
    until("its socket", process.socket_path.exists, process)
    assert process.identity.GetPluginInfo(csi.GetPluginInfoRequest(), timeout=10).name == "csi.perssd.io"
    assert process.identity.GetPluginCapabilities(csi.GetPluginCapabilitiesRequest(), timeout=10).capabilities
    probe = process.identity.Probe(csi.ProbeRequest(), timeout=10)
    assert probe.HasField("ready") and not probe.ready.value
    if program == "perssd-node":
        # kubelet, which asks this once in the registrar's life, hears it.
        info = process.node.NodeGetInfo(csi.NodeGetInfoRequest(), timeout=10)
        assert info.node_id == "n" and "pool.csi.perssd.io/default" in info.accessible_topology.segments
        assert process.node.NodeGetCapabilities(csi.NodeGetCapabilitiesRequest(), timeout=10).capabilities
        message = refused("UNAVAILABLE", lambda: process.node.NodePublishVolume(
            csi.NodePublishVolumeRequest(
                volume_id="vol-" + "0" * 32, target_path=away.target("n", "pod"), volume_capability=mount()), timeout=10))
    else:
        assert process.controller.ControllerGetCapabilities(
            csi.ControllerGetCapabilitiesRequest(), timeout=10).capabilities
        assert process.groups.GroupControllerGetCapabilities(
            csi.GroupControllerGetCapabilitiesRequest(), timeout=10).capabilities
        message = refused("UNAVAILABLE", lambda: process.controller.CreateVolume(
            csi.CreateVolumeRequest(name="early", volume_capabilities=[mount()]), timeout=10))
    assert "waits for its store" in message and f"127.0.0.1:{away.port}" in message, message
    # A few more tries, of which the log says nothing.
    time.sleep(25)
    assert asked(process, "/healthz") == (200, "ok\n")
    assert len(warnings(process)) == 1, warnings(process)
    assert "waiting for the store: cannot use the store" in warnings(process)[0]

    away.come()
    until("that it is ready", lambda: process.identity.Probe(csi.ProbeRequest(), timeout=30).ready.value, process)
    assert asked(process, "/readyz") == (200, "ready\n") and asked(process, "/healthz") == (200, "ok\n")
    assert "the store answers, after" in process.text()
    if program == "perssd-controller":
        refused("RESOURCE_EXHAUSTED", lambda: process.controller.CreateVolume(
            csi.CreateVolumeRequest(name="early", volume_capabilities=[mount()]), timeout=30))
    else:
        refused("NOT_FOUND", lambda: process.node.NodePublishVolume(
            csi.NodePublishVolumeRequest(
                volume_id="vol-" + "0" * 32, target_path=away.target("n", "pod"), volume_capability=mount()), timeout=30))
    assert process.stop() == 0
    assert process.text().splitlines()[-1].endswith("INFO ended node=n")


@pytest.mark.parametrize("when", ["at the first try", "later"])
@pytest.mark.parametrize("what", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_plugin_that_waits_ends_at_once_and_in_order(away, program, what, when):
    process = away.begin(program)
    if when == "later":
        until("a warning, and its socket", lambda: warnings(process) and process.socket_path.exists(), process)
    else:
        wait_for_words(process, "metrics are served")
        # Pools are opened first.
        time.sleep(1)
    begin = time.monotonic()
    assert process._end(what) == 0, process.text()[-3000:]
    # Whatever else it could wait for, the next try of the store or for calls that run, takes longer.
    assert time.monotonic() - begin < 8
    assert process.text().splitlines()[-1].endswith("INFO ended node=n")
    assert not process.socket_path.exists()


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_server_that_is_not_well_is_waited_for(away, program):
    class Unwell(http.server.BaseHTTPRequestHandler):
        def answer(self):
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_HEAD = do_PUT = do_DELETE = do_POST = answer

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", away.port), Unwell)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        process = away.begin(program)
        (line,) = until("a warning", lambda: warnings(process), process)
        assert "waiting for the store" in line and "503" in line
    finally:
        server.shutdown()
        server.server_close()
    away.come()
    until_ready(process)
    assert process.stop() == 0


@pytest.mark.parametrize("when", ["at once", "after it was away"])
@pytest.mark.parametrize("wrong, code, message", [
    ("key", 5, "the secret key does not belong to the access key"), ("bucket", 3, "create the bucket 'no-such-bucket'")])
@pytest.mark.parametrize("program", PROGRAMS)
def test_what_lasts_ends_a_plugin(away, program, wrong, code, message, when):
    if wrong == "key":
        away.environment = {**away.environment, "AWS_SECRET_ACCESS_KEY": "wrong" * 8}
    else:
        away.store_arguments[0] = "s3://no-such-bucket/p"
    if when == "at once":
        away.come()
    process = away.begin(program)
    if when != "at once":
        until("a warning", lambda: warnings(process), process)
        away.come()
    assert process.process.wait(timeout=120) == code, process.text()[-3000:]
    last = process.text().splitlines()[-1]
    assert last.startswith(f"{program}: cannot use the store {away.store_arguments[0]}: ") and message in last, last
    assert not process.socket_path.exists()


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_plugin_that_cannot_be_reached_is_not_alive(away, program):
    """Whatever the bucket does: only a new process has a socket again."""
    away.come()
    process = away.begin(program)
    # Where the start takes long, there is a socket before it is over.
    until("its socket", process.socket_path.exists, process)
    until_ready(process)
    assert asked(process, "/healthz") == (200, "ok\n")
    away.forwarder.close()
    status, text = until("that it is not ready", lambda: asked(process, "/readyz"), process, lambda answer: answer[0] == 503)
    assert asked(process, "/healthz") == (200, "ok\n"), text
    process.socket_path.unlink()
    status, text = asked(process, "/healthz")
    assert status == 503 and f"the process does not answer at unix://{process.socket_path}" in text
    # Nobody asks anything in a log that is to be read.
    assert "Alive" not in process.text()
