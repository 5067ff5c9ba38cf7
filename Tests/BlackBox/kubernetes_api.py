"""The API server of Tests/APIServer as a process, with an authority and a token of its own."""

import json
import pathlib
import signal
import ssl
import subprocess
import sys
import urllib.request

from servers import DIE_WITH_PARENT, free_port
from waiting import wait_for

PROGRAM = pathlib.Path(__file__).resolve().parents[1] / "APIServer" / "api_server.py"


class KubernetesAPI:
    TOKEN = "the-service-accounts-token"

    def __init__(self, directory):
        directory.mkdir()
        self.authority, key = directory / "ca.pem", directory / "server.key"
        request, certificate, names = directory / "server.csr", directory / "server.pem", directory / "names"
        names.write_text("subjectAltName=IP:127.0.0.1\n")
        new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        for arguments in (
                ["req", "-x509", "-days", "2", "-subj", "/CN=test authority", *new_key, "-keyout", directory / "ca.key",
                 "-out", self.authority],
                ["req", "-subj", "/CN=test", *new_key, "-keyout", key, "-out", request],
                ["x509", "-req", "-days", "2", "-in", request, "-CA", self.authority, "-CAkey", directory / "ca.key",
                 "-CAcreateserial", "-extfile", names, "-out", certificate]):
            subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
        self.token_file = directory / "token"
        self.token_file.write_text(self.TOKEN)
        self.url = f"https://127.0.0.1:{(port := free_port())}"
        self.process = subprocess.Popen(
            DIE_WITH_PARENT + [sys.executable, str(PROGRAM), str(port), str(certificate), str(key), str(self.token_file)])
        self.context = ssl.create_default_context(cafile=self.authority)
        wait_for("an answer of the API server", self._failure, lambda failure: failure is None,
                 over=lambda: self.process.poll() is not None)

    def _failure(self):
        """Why it does not answer; None where it does."""
        try:
            self.state()
        except OSError as error:
            return error
        return None

    @property
    def arguments(self):
        """Of the plugins."""
        return ("--kubernetes-api-server", self.url, "--kubernetes-token-file", str(self.token_file),
                "--kubernetes-certificate-authorities", str(self.authority))

    def state(self, method="GET", **behaviour):
        request = urllib.request.Request(
            f"{self.url}/control", method=method, data=json.dumps(behaviour).encode() if behaviour else None)
        with urllib.request.urlopen(request, context=self.context, timeout=30) as answer:
            return json.load(answer)

    def behave(self, **behaviour):
        self.state("PUT", **behaviour)

    def hold(self):
        """It takes connections, and answers nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        self.process.kill()
        self.process.wait()

    def described(self, uid):
        """(reason, message) of an object's events, as `kubectl describe` finds them."""
        return [(event["reason"], event["message"]) for event in self.state()["events"]
                if event["involvedObject"]["uid"] == uid]

    def wait(self, uid, reason, count=1):
        """The messages of that reason on that object, once there are so many."""
        events = wait_for(
            f"{count} x {reason} on {uid}", lambda: self.described(uid),
            lambda found: [r for r, _ in found].count(reason) >= count, pause=0.2)
        return [message for r, message in events if r == reason]
