"""The tests' side of guest/agent.py."""

import dataclasses
import json
import socket
import struct

LENGTHS = struct.Struct(">II")


class NodeError(Exception):
    """Something that was asked of a node did not go well there."""


@dataclasses.dataclass
class Result:
    """How a command in a node ended."""

    status: int
    out: bytes
    err: bytes

    @property
    def text(self):
        return self.out.decode()


class Agent:
    def __init__(self, port):
        self.port = port

    def call(self, action, payload=b"", timeout=30, patience=30, **request):
        """One request and its answer: a header and bytes.

        The agent kills what takes longer than `timeout`, and says so; where it says nothing for `patience` more, the
        node hangs.
        """
        text = json.dumps({"action": action, "timeout": timeout, **request}).encode()
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=timeout + patience) as connection:
                connection.sendall(LENGTHS.pack(len(text), len(payload)) + text + payload)
                with connection.makefile("rb") as stream:
                    header_length, payload_length = LENGTHS.unpack(self._exactly(stream, LENGTHS.size))
                    header = json.loads(self._exactly(stream, header_length))
                    answer = self._exactly(stream, payload_length)
        except OSError as error:
            raise NodeError(f"the node does not answer: {error}") from error
        if "error" in header:
            raise NodeError(f"{action} {request.get('path') or request.get('command')}: {header['error']}")
        return header, answer

    @staticmethod
    def _exactly(stream, length):
        data = stream.read(length)
        if len(data) != length:
            raise NodeError("the node broke off its answer")
        return data

    def run(self, command, input=b"", timeout=60, check=True, environment=None):
        command = [str(word) for word in command]
        header, answer = self.call(
            "run", input, timeout=timeout, command=command, environment=environment or {})
        length = header["outLength"]
        result = Result(header["status"], answer[:length], answer[length:])
        said = (result.out + result.err).decode(errors="replace")[-4000:]
        if header["timedOut"]:
            raise NodeError(f"{' '.join(command)}: not done within {timeout} s, and killed\n{said}")
        if check and result.status != 0:
            raise NodeError(f"{' '.join(command)}: status {result.status}\n{said}")
        return result
