"""A gRPC server of another make, with a few methods of the test service. Prints its port when it serves, and notes of what its
handlers see; ends when its standard input does.

usage: server.py ADDRESS
"""

import sys
import threading
from concurrent import futures

import grpc

DETAILS = bytes([8, 5, 18, 3, 0, 0xFF, 0x80])
MESSAGE = "größe: 100% of »vol\n1« \t日本語 🚀"


def note(text):
    print(text, flush=True)


def echo(request, context):
    return request


def fail(request, context):
    context.set_trailing_metadata((("grpc-status-details-bin", DETAILS),))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, MESSAGE)


def show_metadata(request, context):
    entries = []
    for key, value in context.invocation_metadata():
        value = value if isinstance(value, bytes) else value.encode()
        entries.append(key + "=" + ",".join(str(byte) for byte in value))
    return "\n".join(entries).encode()


def remaining(request, context):
    left = context.time_remaining()
    return str("none" if left is None or left > 1e9 else int(left)).encode()


def hang(request, context):
    ended = threading.Event()
    context.add_callback(ended.set)
    note("hang began")
    ended.wait()
    note("hang cancelled")
    return b""


def zeros(request, context):
    return bytes(int(request))


def count(request, context):
    for number in range(int(request)):
        yield str(number).encode()


def count_then_fail(request, context):
    yield b"\x01"
    yield b"\x02"
    context.set_trailing_metadata((("grpc-status-details-bin", DETAILS),))
    context.abort(grpc.StatusCode.ABORTED, "half-way")


def chat(requests, context):
    yield from requests


UNARY = {
    "Echo": echo,
    "Fail": fail,
    "Metadata": show_metadata,
    "Remaining": remaining,
    "Hang": hang,
    "Zeros": zeros,
}
STREAMING = {"Count": count, "CountThenFail": count_then_fail}


def main():
    methods = {name: grpc.unary_unary_rpc_method_handler(method) for name, method in UNARY.items()}
    methods |= {name: grpc.unary_stream_rpc_method_handler(method) for name, method in STREAMING.items()}
    methods["Chat"] = grpc.stream_stream_rpc_method_handler(chat)
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Service", methods),))
    note(server.add_insecure_port(sys.argv[1]))
    server.start()
    sys.stdin.read()
    server.stop(0).wait()


if __name__ == "__main__":
    main()
