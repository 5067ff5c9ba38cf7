"""Stands between a client and a real HTTP server and does harm on demand.

    faulty_proxy.py PORT UPSTREAM_PORT [CERTIFICATE KEY]

Requests go on to 127.0.0.1:UPSTREAM_PORT with all their headers, the host included, so that signatures stay valid.
PUT /-/faults sets the list of faults, GET /-/log tells what came. A fault is an object:

    method, contains   which requests it hits (all, where left out): the method, a part of the target
    times              how many of them (1)
    skip               how many of them to let pass before (0)
    kind               status          answer with `status`, `code` and `headers`, without asking the server
                       cut-request     close after reading `bytes` of the request's body
                       lose-answer     pass the request on, then close without an answer
                       belie           pass the request on, then answer as for `status`
                       cut-response    close after sending `bytes` of the response's body
                       short-response  the same, but with a Content-Length that fits what is sent
                       stall           say nothing for `seconds`
                       stall-response  send `bytes` of the response's body, then say nothing for `seconds`
                       flip            change the byte at `bytes` in the response's body
                       alter           pass on with the headers in `headers` set (null removes) in the answer
                       bare-tags       answer an If-Match in quotes with 412, as a server does that compares bare tags
"""

import http.client
import http.server
import json
import socket
import ssl
import sys
import threading
import time

UPSTREAM = int(sys.argv[2])
lock = threading.Lock()
faults = []
log = []


def take_fault(method, target, headers):
    """The first fault that hits this request; it is used up."""
    with lock:
        log.append({"method": method, "target": target, "headers": {k.lower(): v for k, v in headers.items()}})
        for fault in faults:
            if fault.get("method", method) != method or fault.get("contains", "") not in target:
                continue
            if fault.get("skip", 0) > 0:
                fault["skip"] -= 1
                return None
            if fault.get("times", 1) <= 0:
                continue
            fault["times"] = fault.get("times", 1) - 1
            return fault
    return None


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def handle_expect_100(self):
        # A server that refuses says so before the body comes.
        return True

    def do(self):
        if self.path.startswith("/-/"):
            return self.control()
        fault = take_fault(self.command, self.path, self.headers)
        kind = fault["kind"] if fault else None
        length = int(self.headers.get("Content-Length") or 0)
        if kind == "stall":
            time.sleep(fault["seconds"])
            return self.cut()
        if kind == "status":
            return self.refuse(fault, length)
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        if kind == "cut-request":
            self.rfile.read(min(length, fault.get("bytes", 0)))
            return self.cut()
        body = self.rfile.read(length)
        if kind == "bare-tags" and self.headers.get("If-Match", "").startswith('"'):
            return self.refuse({"status": 412, "code": "PreconditionFailed"}, 0)
        status, reason, headers, answer = self.ask(body)
        if kind == "lose-answer":
            return self.cut()
        if kind == "belie":
            return self.refuse(fault, 0)
        if kind == "flip":
            at = fault.get("bytes", 0)
            answer = answer[:at] + bytes([answer[at] ^ 1]) + answer[at + 1:]
        if kind == "alter":
            headers = [(k, v) for k, v in headers if k.lower() not in {n.lower() for n in fault["headers"]}]
            headers += [(k, v) for k, v in fault["headers"].items() if v is not None]
        shown = answer
        if kind in ("cut-response", "short-response", "stall-response"):
            shown = answer[: fault.get("bytes", 0)]
        if kind == "short-response":
            headers = [(k, v) for k, v in headers if k.lower() != "content-length"]
            headers.append(("Content-Length", str(len(shown))))
        self.wfile.write(f"HTTP/1.1 {status} {reason}\r\n".encode())
        for name, value in headers:
            self.wfile.write(f"{name}: {value}\r\n".encode())
        self.wfile.write(b"\r\n" + shown)
        self.wfile.flush()
        if kind == "stall-response":
            time.sleep(fault["seconds"])
        if kind in ("cut-response", "stall-response"):
            self.cut()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do

    def ask(self, body):
        upstream = http.client.HTTPConnection("127.0.0.1", UPSTREAM, timeout=60)
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in ("expect", "connection"):
                upstream.putheader(name, value)
        upstream.endheaders(body)
        response = upstream.getresponse()
        answer = response.read()
        headers = [(k, v) for k, v in response.getheaders() if k.lower() not in ("transfer-encoding", "connection")]
        if response.getheader("Content-Length") is None and response.status != 204:
            headers.append(("Content-Length", str(len(answer))))
        upstream.close()
        return response.status, response.reason, headers, answer

    def refuse(self, fault, length):
        if self.headers.get("Expect", "").lower() != "100-continue":
            self.rfile.read(length)
        else:
            self.close_connection = True
        code = fault.get("code")
        text = f"<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>on demand</Message></Error>" if code else ""
        text = fault.get("text", text)
        body = b"" if self.command == "HEAD" else text.encode()
        self.send_response_only(fault["status"])
        for name, value in fault.get("headers", {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def cut(self):
        self.close_connection = True
        try:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def control(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        answer = b"{}"
        with lock:
            if self.path == "/-/faults":
                faults[:] = json.loads(body)
                log.clear()
            else:
                answer = json.dumps(log).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass


server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
if len(sys.argv) > 3:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[3], sys.argv[4])
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
