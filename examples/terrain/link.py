"""The network between the nodes and the bucket: counts what crosses it, and can be made slow."""

import ctypes
import multiprocessing
import queue
import signal
import socket
import threading
import time

PIECE = 256 << 10
# <linux/prctl.h>
PR_SET_PDEATHSIG = 1


class Direction:
    """All that goes one way, whatever the connection."""

    def __init__(self, bytes_per_second, counter):
        self.rate, self.counter = bytes_per_second, counter
        self.free_at, self.lock = 0.0, threading.Lock()

    def wait_for_turn(self, size):
        with self.counter.get_lock():
            self.counter.value += size
        if not self.rate:
            return
        with self.lock:
            start = max(self.free_at, time.monotonic())
            self.free_at = start + size / self.rate
        time.sleep(max(0.0, start - time.monotonic()))


class Link:
    """A TCP proxy in front of a server on this machine, in a process of its own.

    `latency` is seconds one way, `bytes_per_second` holds for each direction; 0 for as fast as it goes.
    """

    def __init__(self, server_port, latency=0.0, bytes_per_second=0):
        self.latency, self.bytes_per_second, self.server_port = latency, bytes_per_second, server_port
        self._sent, self._fetched = (multiprocessing.Value("Q", 0) for _ in range(2))
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        self._process = multiprocessing.Process(target=self._serve, daemon=True)

    def __enter__(self):
        self._process.start()
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.join()
        self._listener.close()

    @property
    def traffic(self):
        """Bytes to the bucket and from it so far, what HTTP says around the data included."""
        return self._sent.value, self._fetched.value

    def _serve(self):
        # It ends with the process that made it, however that ends, and not by a terminal's Ctrl-C before.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        out = Direction(self.bytes_per_second, self._sent)
        back = Direction(self.bytes_per_second, self._fetched)
        while True:
            client, _ = self._listener.accept()
            try:
                server = socket.create_connection(("127.0.0.1", self.server_port))
            except OSError:
                client.close()
                continue
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._pass_on(client, server, out)
            self._pass_on(server, client, back)

    def _pass_on(self, source, destination, direction):
        on_the_way = queue.Queue(maxsize=64)

        def receive():
            try:
                while piece := source.recv(PIECE):
                    direction.wait_for_turn(len(piece))
                    on_the_way.put((time.monotonic() + self.latency, piece))
            except OSError:
                pass
            on_the_way.put((0.0, b""))

        def send():
            while True:
                arrival, piece = on_the_way.get()
                try:
                    if not piece:
                        destination.shutdown(socket.SHUT_WR)
                        return
                    time.sleep(max(0.0, arrival - time.monotonic()))
                    destination.sendall(piece)
                except OSError:
                    # Whoever sends has to notice, too, and what waits in the queue to be dropped.
                    source.close()
                    while piece:
                        _, piece = on_the_way.get()
                    return

        for body in (receive, send):
            threading.Thread(target=body, daemon=True).start()
