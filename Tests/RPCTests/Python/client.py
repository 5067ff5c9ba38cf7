"""A gRPC client of another make: makes one call of the test service and prints what came of it as JSON.

usage: client.py TARGET SCENARIO [ARGUMENT]
"""

import json
import os
import signal
import sys
import threading
import time

import grpc

SERVICE = "/test.Service/"


def outcome(error):
    details = [value for key, value in error.trailing_metadata() or () if key == "grpc-status-details-bin"]
    return {
        "code": error.code().name,
        "message": error.details(),
        "details": details[0].hex() if details else "",
    }


def unary(channel, method, request=b"", **options):
    return channel.unary_unary(SERVICE + method)(request, timeout=options.pop("timeout", 60), **options)


def echo(channel, size):
    request = bytes(i * 31 & 0xFF for i in range(int(size)))
    return {"equal": unary(channel, "Echo", request) == request}


def fail(channel, method):
    unary(channel, method)


def oversize(channel, size):
    unary(channel, "Echo", bytes(int(size)))


def compressed(channel, size):
    unary(channel, "Echo", bytes(int(size)), compression=grpc.Compression.Gzip)


def deadline(channel, seconds):
    unary(channel, "Hang", timeout=float(seconds))


def cancel(channel, _):
    call = channel.unary_stream(SERVICE + "Flood")(b"", timeout=60)
    next(call)
    call.cancel()
    return {"code": call.code().name}


def vanish(channel, _):
    """Dies in mid-call, without a word to the server."""
    hang = channel.unary_unary(SERVICE + "Hang").future(b"")
    flood = channel.unary_stream(SERVICE + "Flood")(b"")
    next(flood)
    time.sleep(1)
    assert hang.running() and flood.is_active()
    os.kill(os.getpid(), signal.SIGKILL)


def metadata(channel, _):
    given = (("trace-id", "a b"), ("blob-bin", b"\x00\xff\n"))
    return {"lines": unary(channel, "Metadata", metadata=given).decode().split("\n")}


def stream(channel, count):
    messages = channel.unary_stream(SERVICE + "Count")(count.encode(), timeout=60)
    return {"messages": [message.decode() for message in messages]}


def broken_stream(channel, _):
    received = []
    try:
        for message in channel.unary_stream(SERVICE + "CountThenFail")(b"", timeout=60):
            received.append(message.hex())
    except grpc.RpcError as error:
        return {"messages": received} | outcome(error)


def chat(channel, count):
    requests = (str(number).encode() for number in range(int(count)))
    replies = channel.stream_stream(SERVICE + "Chat")(requests, timeout=60)
    return {"messages": [reply.decode() for reply in replies]}


def no_request(channel, _):
    """A unary method called as a stream that ends before its first message."""
    list(channel.stream_stream(SERVICE + "Echo")(iter(()), timeout=60))


def concurrent(channel, count):
    errors = []

    def one(number):
        try:
            if unary(channel, "Echo", str(number).encode()) != str(number).encode():
                errors.append("another's answer")
        except grpc.RpcError as error:
            errors.append(error.code().name)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(int(count))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"messages": errors}


def main():
    target, scenario = sys.argv[1:3]
    argument = sys.argv[3] if len(sys.argv) > 3 else ""
    unlimited = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(target, options=unlimited) as channel:
        try:
            result = globals()[scenario](channel, argument) or {}
            result.setdefault("code", "OK")
        except grpc.RpcError as error:
            result = outcome(error)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
