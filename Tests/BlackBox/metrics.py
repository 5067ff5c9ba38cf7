"""A client of a plugin's metrics and probes, with Prometheus' own parser."""

import re
import urllib.error
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from waiting import wait_for

LISTEN = ("--metrics-listen", "127.0.0.1:0")


class Metrics:
    def __init__(self, process):
        self.process = process

    @property
    def address(self):
        """Of the process that runs now: the log names the port that was free."""
        return re.findall(r"metrics are served .*endpoint=tcp://(\S+)\s", self.process.text())[-1]

    def get(self, path, method="GET"):
        """Status, headers and text."""
        request = urllib.request.Request(f"http://{self.address}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read().decode()

    def families(self):
        """By the name in the exposition: the parser takes `_total` from the names of counters."""
        status, headers, text = self.get("/metrics")
        assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4"), (status, headers)
        families = list(text_string_to_metric_families(text))
        return {f.name + ("_total" if f.type == "counter" else ""): f for f in families}

    def value(self, sample, **labels):
        """The value of a sample; None where there is none."""
        samples = [s for family in self.families().values() for s in family.samples]
        found = [s.value for s in samples if s.name == sample and s.labels == labels]
        assert len(found) <= 1, found
        return found[0] if found else None

    def wait(self, condition, sample, **labels):
        """The value, once the condition holds."""
        return wait_for(
            f"{sample}{labels} as it has to be", lambda: self.value(sample, **labels), condition, pause=0.3)
