"""An HTTP server that answers in the ways which a client has to bear.

    odd_server.py PORT

GET /bytes/N        N bytes, each its position modulo 251, with a Content-Length
GET /chunked/N      the same in chunks, with a trailer
GET /endless        bytes without end, in chunks
GET /stall/S        nothing for S seconds
GET /redirect       302 to /bytes/1
GET /headers        the request's headers, a line each
GET /interim        103 Early Hints with a header, then 200 with another
GET /connection     the number of this connection
GET /garbage        what is no HTTP
GET or PUT /close   on a connection that has served a request before: closes it without an answer
GET /closes         how many requests came to /close
PUT, POST or PATCH /echo   the body, and its length in X-Length
"""

import http.server
import itertools
import sys
import time

numbers = itertools.count(1)
closes = {"count": 0}


def pattern(count):
    return (bytes(range(251)) * (count // 251 + 1))[:count]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.number = next(numbers)
        self.served = 0

    def log_message(self, *arguments):
        pass

    def answer(self, body, **headers):
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Content-Length", "12345")
        self.end_headers()

    def do_PUT(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.served += 1
        if self.path == "/close":
            return self.close()
        self.answer(body, X_Length=str(len(body)), X_Method=self.command)

    do_POST = do_PATCH = do_PUT

    def close(self):
        closes["count"] += 1
        if self.served > 1:
            self.close_connection = True
        else:
            self.answer(b"anew")

    def do_GET(self):
        word, _, argument = self.path[1:].partition("/")
        self.served += 1
        if word == "bytes":
            self.answer(pattern(int(argument)))
        elif word == "chunked":
            self.chunks([pattern(int(argument))[i:i + 70000] for i in range(0, int(argument), 70000)])
        elif word == "endless":
            self.chunks(itertools.repeat(b"x" * 65536))
        elif word == "stall":
            time.sleep(float(argument))
            self.answer(b"late")
        elif word == "redirect":
            self.send_response(302)
            self.send_header("Location", "/bytes/1")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif word == "headers":
            self.answer("".join(f"{k}: {v}\n" for k, v in self.headers.items()).encode())
        elif word == "interim":
            self.wfile.write(b"HTTP/1.1 103 Early Hints\r\nX-Interim: 1\r\n\r\n")
            self.answer(b"done", X_Final="2", x_TWICE="  padded \t")
        elif word == "connection":
            self.answer(str(self.number).encode())
        elif word == "garbage":
            self.wfile.write(b"\x00\x01 what is this\r\n\r\n")
            self.close_connection = True
        elif word == "close":
            self.close()
        elif word == "closes":
            self.answer(str(closes["count"]).encode())
        else:
            self.send_error(404)

    def chunks(self, parts):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for part in parts:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.write(b"0\r\nX-Trailer: 3\r\n\r\n")
        except OSError:
            self.close_connection = True


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request, client_address):
        pass


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
