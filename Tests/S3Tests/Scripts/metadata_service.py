"""A stand-in for the services that hand out credentials on cloud machines, which run nowhere else.

    metadata_service.py PORT

It speaks the instance metadata service's version 2 (a token by PUT, which the other requests have to bear) and the
container service (GET /container, with the header "Authorization: let-me-in"). Each answer names new credentials, which
last for as many seconds as GET /-/lifetime/N said last. GET /-/break makes it answer 500 from then on.
"""

import datetime
import http.server
import json
import sys

state = {"count": 0, "lifetime": 3600, "broken": False}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def answer(self, status, text=""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def credentials(self):
        state["count"] += 1
        end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=state["lifetime"])
        self.answer(200, json.dumps({
            "Code": "Success", "AccessKeyId": f"ASIA{state['count']}", "SecretAccessKey": "secret",
            "Token": f"token{state['count']}", "Expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ")}))

    def do_PUT(self):
        if state["broken"]:
            return self.answer(500)
        if self.path != "/latest/api/token" or not self.headers.get("X-aws-ec2-metadata-token-ttl-seconds"):
            return self.answer(400)
        self.answer(200, "session-of-the-service")

    def do_GET(self):
        if self.path.startswith("/-/lifetime/"):
            state["lifetime"] = int(self.path.rsplit("/", 1)[1])
            return self.answer(200)
        if self.path == "/-/break":
            state["broken"] = True
            return self.answer(200)
        if state["broken"]:
            return self.answer(500)
        if self.path == "/container":
            allowed = self.headers.get("Authorization") == "let-me-in"
            return self.credentials() if allowed else self.answer(403)
        if self.headers.get("X-aws-ec2-metadata-token") != "session-of-the-service":
            return self.answer(401)
        if self.path == "/latest/meta-data/iam/security-credentials/":
            return self.answer(200, "node-role\n")
        if self.path == "/latest/meta-data/iam/security-credentials/node-role":
            return self.credentials()
        self.answer(404)


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
