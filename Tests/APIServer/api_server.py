"""An API server of Kubernetes, as far as events go: TLS, a bearer token, and Kubernetes' own schema and rules for what is posted.

    api_server.py PORT CERTIFICATE KEY TOKEN_FILE

It lets its caller create and patch events, and nothing else, as the chart's roles do. The token is what TOKEN_FILE holds at the moment.

GET  /control        {"events": [...], "requests": [...], "refused": [...]}: what is there, what was asked, and what broke a rule
PUT  /control        {"faults": [...], "terminating": [namespaces], "missing": [namespaces]}: what goes wrong from now on
DELETE /control      forgets all events, as the server does after an hour

A fault is for the next "times" requests (1), of "method" where that is given:
{"kind": "status", "status": 500, "headers": {}, "body": {}}, {"kind": "hang", "seconds": 60}, {"kind": "close"},
and {"kind": "lost"}: the request is carried out, and its answer never comes.
"""

import datetime
import http.server
import json
import re
import ssl
import sys
import threading
import time
import uuid

import kubernetes_validate

PORT, CERTIFICATE, KEY, TOKEN_FILE = int(sys.argv[1]), *sys.argv[2:5]
lock = threading.Lock()
events, requests, refused = {}, [], []
behaviour = {"faults": [], "terminating": [], "missing": []}

SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def broken_rule(event, namespace):
    """What the server's own validation says beyond the schema (core/v1: a legacy event); None where all is well."""
    kubernetes_validate.validate(event, kubernetes_validate.latest_version(), strict=True)
    metadata, regarded = event["metadata"], event["involvedObject"]
    if not metadata["namespace"] == regarded["namespace"] == namespace:
        return "involvedObject.namespace: does not match event.namespace"
    if not SUBDOMAIN.fullmatch(metadata["name"]) or len(metadata["name"]) > 253:
        return f"metadata.name: {metadata['name']}"
    # These are what events.k8s.io/v1 asks for, too.
    if len(event["message"].encode()) > 1024 or "\n" in event["message"]:
        return "message"
    for field, limit in (("reason", 128), ("action", 128), ("reportingInstance", 128), ("reportingComponent", 253)):
        if not 0 < len(event[field]) <= limit:
            return field
    if not re.fullmatch("[A-Z][A-Za-z]+", event["reason"]) or event["type"] not in ("Normal", "Warning"):
        return "reason, type"
    times = [datetime.datetime.fromisoformat(event[field]) for field in ("firstTimestamp", "lastTimestamp")]
    return "lastTimestamp" if times[1] < times[0] else None


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def answer(self, status, body, headers=None):
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def failure(self, status, reason, message, details=None):
        self.answer(status, {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason,
            "details": details or {}, "code": status})

    def control(self, body):
        with lock:
            if self.command == "PUT":
                behaviour.update(body)
            elif self.command == "DELETE":
                events.clear()
            self.answer(200, {"events": list(events.values()), "requests": requests, "refused": refused})

    def serve(self):
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/control":
            return self.control(json.loads(data or "{}"))
        with lock:
            requests.append({"method": self.command, "path": self.path, "at": time.time(),
                             "token": self.headers.get("Authorization", "").removeprefix("Bearer ")})
            fault = next((f for f in behaviour["faults"] if f.get("method", self.command) == self.command), None)
            if fault:
                fault["times"] = fault.get("times", 1) - 1
                if fault["times"] <= 0:
                    behaviour["faults"].remove(fault)
        kind = fault and fault["kind"]
        if kind == "status":
            return self.answer(fault["status"], fault.get("body", {}), fault.get("headers"))
        if kind == "hang":
            time.sleep(fault.get("seconds", 60))
        if kind in ("hang", "close"):
            self.close_connection = True
            return
        with open(TOKEN_FILE) as file:
            if self.headers.get("Authorization") != f"Bearer {file.read().strip()}":
                return self.failure(401, "Unauthorized", "Unauthorized")
        self.is_lost = kind == "lost"
        self.events(json.loads(data))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = serve

    def events(self, body):
        place = re.fullmatch(r"/api/v1/namespaces/([a-z0-9-]+)/events(?:/([^/?]+))?", self.path)
        if not place or (self.command, bool(place[2])) not in (("POST", False), ("PATCH", True)):
            return self.failure(403, "Forbidden", f"User cannot {self.command} {self.path}")
        namespace, name = place.groups()
        if namespace in behaviour["missing"]:
            return self.failure(404, "NotFound", f'namespaces "{namespace}" not found', {"name": namespace, "kind": "namespaces"})
        if self.command == "POST" and namespace in behaviour["terminating"]:
            return self.failure(
                403, "Forbidden", "unable to create new content in a namespace that is being terminated",
                {"causes": [{"reason": "NamespaceTerminating", "message": "it is", "field": "metadata.namespace"}]})
        with lock:
            if self.command == "POST":
                name = body["metadata"]["name"]
                if (namespace, name) in events:
                    return self.failure(409, "AlreadyExists", f'events "{name}" already exists', {"name": name, "kind": "events"})
                event = body
                event["metadata"]["uid"] = str(uuid.uuid4())
            else:
                if self.headers["Content-Type"] != "application/merge-patch+json":
                    return self.failure(415, "UnsupportedMediaType", "the body of the request was in an unknown format")
                if (namespace, name) not in events:
                    return self.failure(404, "NotFound", f'events "{name}" not found', {"name": name, "kind": "events"})
                event = json.loads(json.dumps(events[namespace, name]))
                event.update(body)
            version = int(event["metadata"].get("resourceVersion", "0")) + 1
            event["metadata"]["resourceVersion"] = str(version)
            try:
                rule = broken_rule(event, namespace)
            except Exception as error:  # Whatever the validator throws is against the event.
                rule = str(error)
            if rule:
                refused.append({"rule": rule, "event": event})
                return self.failure(422, "Invalid", f"Event is invalid: {rule}")
            events[namespace, name] = event
        if self.is_lost:
            self.close_connection = True
        else:
            self.answer(201 if self.command == "POST" else 200, event)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        pass


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CERTIFICATE, KEY)
server = Server(("127.0.0.1", PORT), Handler)
# The handshake is for each connection's thread.
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
