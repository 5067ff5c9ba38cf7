"""A token service on a port of the loopback interface: moto's, which answers as AWS's does, and issues what opens nothing.

    sts_with_moto.py PORT
"""

import http.server
import sys

import moto
import requests

mock = moto.mock_aws()
mock.start()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(200)

    def do_POST(self):
        form = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {"Content-Type": self.headers["Content-Type"]}
        # moto takes the place of this host inside of this process; nothing leaves the machine.
        response = requests.post("https://sts.us-east-1.amazonaws.com/", data=form, headers=headers)
        self.answer(response.status_code, response.content)


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
