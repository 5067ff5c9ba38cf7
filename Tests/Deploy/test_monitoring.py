"""Alert rules, dashboard and runbook, held against what the plugins expose, with Prometheus' own tools."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request

import pytest
import yaml

from waiting import wait_for

ROOT = pathlib.Path(__file__).resolve().parents[2]
MONITORING = ROOT / "deploy" / "monitoring"
RULES = MONITORING / "alerts.yaml"
DASHBOARD = MONITORING / "dashboard.json"
UNIT_TESTS = pathlib.Path(__file__).parent / "alerts.test.yaml"
RUNBOOK = ROOT / "docs" / "runbook.md"


def promtool(*arguments, **options):
    if shutil.which("promtool") is None:
        pytest.fail("promtool is missing: run scripts/install-dependencies.sh test")
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=120, **options)


def rules():
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def documented():
    """Name to type and plugins; Tests/BlackBox/test_metrics.py holds this against all that is ever exposed."""
    rows = re.findall(r"^\| `(perssd_\w+)` \| (\w+) \| ([^|]*) \| (\w+) \|", (ROOT / "docs/metrics.md").read_text(), re.M)
    return {name: (kind, set(re.findall(r"`(\w+)`", labels)), plugins) for name, kind, labels, plugins in rows}


def metrics_in(expression):
    return set(re.findall(r"\bperssd_\w+", expression))


def expressions():
    """Where, and what."""
    found = [(rule["alert"], rule["expr"]) for rule in rules()]
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        found += [(f"panel {panel['title']}", target["expr"]) for target in panel.get("targets", [])]
    return found


def started(binaries, directory, program, *more):
    """A plugin as a process, and where its metrics are."""
    log = directory / f"{program}.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", str(binaries / program), "--endpoint",
             f"unix://{directory}/{program}.sock", "--store", f"file://{directory}/bucket", "--node-id", "node-a",
             "--metrics-listen", "127.0.0.1:0", *more], stdout=output, stderr=output)
    text = wait_for("where metrics are served", log.read_text, lambda text: re.search(PLACE, text),
                    over=lambda: process.poll() is not None)
    address = re.search(PLACE, text).group(1)
    # Calls are served before the start is over, where that takes long; what is measured of the plugin comes with its end.
    wait_for("that the plugin has started", lambda: unreadiness(address), lambda text: text is None,
             over=lambda: process.poll() is not None)
    return process, address


PLACE = r"metrics are served .*endpoint=tcp://(\S+)\s"


def unreadiness(address):
    """Why it is not ready; None where it is."""
    try:
        with urllib.request.urlopen(f"http://{address}/readyz", timeout=30):
            return None
    except urllib.error.HTTPError as error:
        return error.read().decode()


@pytest.fixture(scope="module")
def expositions():
    """What the two plugins tell Prometheus: by name, the text."""
    binaries = pathlib.Path(os.environ.get("PERSSD_BIN", ROOT / ".build" / "debug"))
    directory = pathlib.Path(tempfile.mkdtemp(prefix="perssd-monitoring-", dir="/var/tmp"))
    (directory / "bucket").mkdir()
    processes, texts = [], {}
    try:
        for program, plugin, more in (
                ("perssd-controller", "controller", []),
                ("perssd-node", "node", ["--pool", f"directory={directory}/pool,size=1GiB",
                                         "--state-directory", f"{directory}/state"])):
            process, address = started(binaries, directory, program, *more)
            processes.append(process)
            with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as answer:
                texts[plugin] = answer.read().decode()
        yield texts
    finally:
        for process in processes:
            process.terminate()
            process.wait(timeout=60)
        shutil.rmtree(directory)


def test_the_rules_are_rules():
    checked = promtool("check", "rules", str(RULES))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names)) and f"{len(names)} rules found" in checked.stdout


def test_each_alert_fires_when_it_should_and_only_then():
    tested = promtool("test", "rules", str(UNIT_TESTS))
    assert tested.returncode == 0, tested.stdout + tested.stderr
    fires, stays_quiet = set(), set()
    for case in yaml.safe_load(UNIT_TESTS.read_text())["tests"]:
        for test in case["promql_expr_test"]:
            name = re.search(r'alertname="(\w+)"', test["expr"]).group(1)
            (fires if test.get("exp_samples") else stays_quiet).add(name)
    assert fires == stays_quiet == {rule["alert"] for rule in rules()}


def test_each_alert_says_what_to_do():
    sections = {}
    for title, text in re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", RUNBOOK.read_text(), re.M | re.S):
        # As GitHub makes anchors.
        sections[title.lower()] = (title, text)
    for rule in rules():
        annotations = rule["annotations"]
        assert set(annotations) == {"summary", "description", "runbook_url"}, rule["alert"]
        path, anchor = annotations["runbook_url"].split("#")
        assert ROOT / path == RUNBOOK
        title, text = sections[anchor]
        assert title == rule["alert"]
        assert re.search(r"^- \*\*Look at\*\* ", text, re.M) and re.search(r"^- \*\*Do\*\* ", text, re.M), title
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert {title for title, _ in sections.values()} == {rule["alert"] for rule in rules()}
    for link in re.findall(r"\]\(#(\w+)\)", RUNBOOK.read_text()):
        assert link in sections, link
    for name in metrics_in(RUNBOOK.read_text()):
        assert name in documented(), name


def test_what_is_named_is_exposed():
    known = {}
    for name, (kind, labels, _) in documented().items():
        suffixes = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
        known |= {name + suffix: labels | ({"le"} if suffix == "_bucket" else set()) for suffix in suffixes}
    # What a scrape adds.
    from_outside = {"instance", "job"}
    for where, expression in expressions():
        assert metrics_in(expression), where
        assert metrics_in(expression) <= known.keys(), where
        labels = set().union(*(known[name] for name in metrics_in(expression))) | from_outside
        matched = set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)\s*\"", expression))
        grouped = re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", expression)
        matched |= {label.strip() for group in grouped for label in group.split(",") if label.strip()}
        assert matched <= labels, (where, matched - labels)
        assert not re.search(r"\b(rate|increase)\(perssd_\w+(?<!_total)(?<!_bucket)(?<!_sum)(?<!_count)[{\[]", expression), where


def test_all_that_is_exposed_is_seen_on_the_dashboard():
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for where, text in expressions() if where.startswith("panel ")
             for name in metrics_in(text)}
    assert shown == documented().keys()


def test_the_dashboard_is_one():
    dashboard = json.loads(DASHBOARD.read_text())
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    taken = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
        for target in panel.get("targets", []):
            assert target["datasource"]["uid"] == "${datasource}", panel["title"]
    assert {variable["name"] for variable in dashboard["templating"]["list"]} == {"datasource", "instance"}
    # Prometheus parses each expression, with a value in place of each of Grafana's variables.
    texts = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    group = {"name": "dashboard", "rules": [
        {"record": f"panel:{index}", "expr": text.replace("$__rate_interval", "5m").replace("$instance", ".*")}
        for index, text in enumerate(texts)]}
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump({"groups": [group]}, file)
        file.flush()
        checked = promtool("check", "rules", file.name)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_prometheus_finds_nothing_wrong_with_what_is_exposed(expositions):
    for plugin, text in expositions.items():
        checked = promtool("check", "metrics", input=text)
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", ""), plugin
        types = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.M))
        expected = {name: kind for name, (kind, _, plugins) in documented().items() if plugins in (plugin, "both")}
        # Series with labels come when there is something to tell.
        assert types.items() <= expected.items()
        unlabelled = {name for name, (_, labels, _) in documented().items() if not labels and name in expected}
        assert unlabelled <= types.keys(), plugin
        assert re.search(r"^# HELP \w+ \S", text, re.M)
