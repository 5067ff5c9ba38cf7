"""What is rendered is valid, hangs together, and says the same in both ways of installing."""

import warnings

import kubernetes_validate
import pytest
import yaml

from manifests import (
    CHART, EXAMPLES, HELM, KUSTOMIZE, VARIANTS, container, containers, flags, objects, of_kind, pod, rendered, run, template, the)

# Custom resources: kubernetes_validate knows Kubernetes' own kinds only. Their definitions (external-snapshotter v8.6.0) have, besides
# what every object has, these fields on top, all text but `parameters`.
CUSTOM = {
    "VolumeSnapshotClass": "snapshot.storage.k8s.io/v1",
    "VolumeGroupSnapshotClass": "groupsnapshot.storage.k8s.io/v1",
}
# Of the Prometheus operator; test_the_pods_are_scraped looks at them.
MONITORS = {"PodMonitor": "monitoring.coreos.com/v1"}


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_chart_lints(example):
    run(HELM, "lint", "--strict", CHART, "--values", EXAMPLES[example])


# The oldest that the chart allows, the one that it is for, and the newest that is known.
@pytest.mark.parametrize("version", ["1.34", "1.36", kubernetes_validate.latest_version()])
@pytest.mark.parametrize("variant", VARIANTS)
def test_objects_are_what_kubernetes_knows(variant, version):
    assert rendered(variant)
    for document in rendered(variant):
        if document["kind"] in MONITORS:
            assert document["apiVersion"] == MONITORS[document["kind"]]
            continue
        if document["kind"] in CUSTOM:
            assert document["apiVersion"] == CUSTOM[document["kind"]]
            assert set(document) <= {"apiVersion", "kind", "metadata", "driver", "deletionPolicy", "parameters"}
            assert document["deletionPolicy"] in ("Delete", "Retain")
            continue
        with warnings.catch_warnings():
            # Another version's schema in place of the one that is asked for.
            warnings.simplefilter("error")
            kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("variant", VARIANTS)
def test_names_and_namespaces(variant):
    names = [(d["kind"], d["metadata"].get("namespace"), d["metadata"]["name"]) for d in rendered(variant)]
    assert len(set(names)) == len(names)
    cluster_wide = {"CSIDriver", "ClusterRole", "ClusterRoleBinding", "StorageClass", "VolumeAttributesClass", "Namespace",
                    *CUSTOM}
    for kind, namespace, name in names:
        assert namespace == (None if kind in cluster_wide else "perssd-system"), (kind, name)


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_referred_to_is_there(variant):
    there = {(d["kind"], d["metadata"]["name"]) for d in rendered(variant)}
    # What the installation expects to find, as the values say.
    there |= {("ConfigMap", "our-authorities")}
    if variant in ("minimal", "kustomize/base"):
        there |= {("Secret", "perssd-bucket")}
    for workload in of_kind(variant, "Deployment", "DaemonSet"):
        spec = pod(workload)
        assert ("ServiceAccount", spec["serviceAccountName"]) in there
        volumes = {}
        for volume in spec["volumes"]:
            volumes[volume["name"]] = volume
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in there
            if "secret" in volume:
                assert ("Secret", volume["secret"]["secretName"]) in there
        mounted = {mount["name"] for one in spec["containers"] for mount in one["volumeMounts"]}
        assert mounted == set(volumes)
        labels = workload["spec"]["template"]["metadata"]["labels"].items()
        assert workload["spec"]["selector"]["matchLabels"].items() <= labels
    for binding in of_kind(variant, "RoleBinding", "ClusterRoleBinding"):
        assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) in there
        for subject in binding["subjects"]:
            assert (subject["kind"], subject["name"]) in there and subject["namespace"] == "perssd-system"
    selected = [policy["spec"].get("podSelector") or policy["spec"]["selector"]
                for policy in of_kind(variant, "NetworkPolicy", "PodDisruptionBudget")]
    pods = [w["spec"]["template"]["metadata"]["labels"].items() for w in of_kind(variant, "Deployment", "DaemonSet")]
    for selector in selected:
        assert any(selector["matchLabels"].items() <= labels for labels in pods), selector


def test_the_kustomize_base_is_what_the_chart_renders():
    fresh = run(KUSTOMIZE / "render.sh", "--stdout", cwd=KUSTOMIZE).stdout
    assert (KUSTOMIZE / "base" / "perssd.yaml").read_text() == fresh, "run deploy/kustomize/render.sh"
    # And that says the same as helm installs, but for the labels by which helm knows its own.
    installed = objects(template("--values", KUSTOMIZE / "base" / "values.yaml").stdout)

    def without_helm(value):
        if isinstance(value, dict):
            return {key: without_helm(item) for key, item in value.items()
                    if key not in ("helm.sh/chart", "app.kubernetes.io/managed-by")}
        return [without_helm(item) for item in value] if isinstance(value, list) else value

    assert objects(fresh) == without_helm(installed)


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_privilege_but_the_node_plugins(variant):
    for workload, one in containers(variant):
        context = one["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        if one["name"] == "perssd-node":
            assert context["privileged"] is True
            assert "Bidirectional" in {mount.get("mountPropagation") for mount in one["volumeMounts"]}
            continue
        assert context == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        # Kubernetes refuses it elsewhere.
        assert {mount.get("mountPropagation") for mount in one["volumeMounts"]} == {None}
        for mount in one["volumeMounts"]:
            (volume,) = [volume for volume in pod(workload)["volumes"] if volume["name"] == mount["name"]]
            assert "hostPath" not in volume or mount["name"] in ("socket", "registration")
    for workload in of_kind(variant, "Deployment", "DaemonSet"):
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod(workload))
    controller = pod(the(variant, "Deployment"))["securityContext"]
    assert controller.get("runAsNonRoot") is (None if variant == "shared-directory" else True)
    tokens = {a["metadata"]["name"]: a["automountServiceAccountToken"] for a in of_kind(variant, "ServiceAccount")}
    assert tokens == {"perssd-controller": True, "perssd-node": False}


@pytest.mark.parametrize("variant", VARIANTS)
def test_probes_and_ports(variant):
    for workload, name in ((the(variant, "Deployment"), "controller"), (the(variant, "DaemonSet"), "node")):
        plugin = container(variant, f"perssd-{name}")
        # What says no while the bucket is away must not have the plugin killed, and CSI's Probe does: it is for readiness.
        assert plugin["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "metrics"}
        sidecar = next(c for c in pod(workload)["containers"] if c["name"] == "livenessprobe")
        assert plugin["readinessProbe"]["httpGet"] == {"path": "/healthz", "port": 9808}
        assert flags(sidecar)["http-endpoint"] == ":9808"
        assert "startupProbe" not in plugin
        # Whoever asks waits longer than the one who is asked, who takes five seconds at the most where it is the plugin.
        assert plugin["livenessProbe"]["timeoutSeconds"] > 5
        assert plugin["readinessProbe"]["timeoutSeconds"] > int(flags(sidecar)["probe-timeout"].removesuffix("s"))
        listen = yaml.safe_load(the(variant, "ConfigMap", name)["data"]["perssd.yaml"])["metrics"]["listen"]
        assert {"name": "metrics", "containerPort": int(listen.rsplit(":")[-1])} in plugin["ports"]
    ports = {port["name"]: port["containerPort"] for port in container(variant, "perssd-node")["ports"]}
    for policy in of_kind(variant, "NetworkPolicy"):
        allowed = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
        assert (ports["agent"] in allowed) is policy["metadata"]["name"].endswith("node")
        assert allowed <= set(ports.values())


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_registrar_is_started_anew_where_its_socket_is_gone(variant):
    registrar, plugin = container(variant, "csi-node-driver-registrar"), container(variant, "perssd-node")
    probe = registrar["livenessProbe"]
    # Its own answer: a plugin that does not answer must not have it end, as kubelet would let go of the driver.
    assert probe["httpGet"]["path"] == "/healthz"
    assert flags(registrar)["http-endpoint"] == f":{probe['httpGet']['port']}"
    ports = {port["containerPort"] for port in plugin["ports"]}
    assert probe["httpGet"]["port"] not in ports
    # It asks itself, within its own time-out.
    assert probe["timeoutSeconds"] > int(flags(registrar)["timeout"].removesuffix("s"))
    # Soon, and not before it has given up waiting for the plugin's socket.
    assert probe["periodSeconds"] * probe["failureThreshold"] <= 15
    assert probe["initialDelaySeconds"] + probe["periodSeconds"] * (probe["failureThreshold"] - 1) > 30
    # The plugin knows its socket, in the same directory of the node.
    directory, _, name = flags(plugin)["registration-socket"].rpartition("/")
    assert name == the(variant, "CSIDriver")["metadata"]["name"] + "-reg.sock"
    for one, place in ((plugin, directory), (registrar, "/registration")):
        (mounted,) = [m for m in one["volumeMounts"] if m["name"] == "registration"]
        assert mounted == {"name": "registration", "mountPath": place}


ACCOUNT = "/etc/perssd/account"


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_node_plugin_alone_has_a_token_on_the_nodes(variant):
    workload = the(variant, "DaemonSet")
    (account,) = [volume for volume in pod(workload)["volumes"] if volume["name"] == "account"]
    assert [next(iter(source)) for source in account["projected"]["sources"]] == ["serviceAccountToken", "configMap"]
    assert account["projected"]["sources"][1]["configMap"]["name"] == "kube-root-ca.crt"
    holders = {one["name"]: m for one in pod(workload)["containers"] for m in one["volumeMounts"] if m["name"] == "account"}
    assert set(holders) == {"perssd-node"} and holders["perssd-node"]["readOnly"] is True
    assert holders["perssd-node"]["mountPath"] == ACCOUNT
    settings = {name: yaml.safe_load(the(variant, "ConfigMap", name)["data"]["perssd.yaml"])["kubernetes"]
                for name in ("controller", "node")}
    # The controller's pod has its token where Kubernetes puts it.
    assert settings == {"controller": {"events": "auto"}, "node": {
        "events": "auto", "tokenFile": f"{ACCOUNT}/token", "certificateAuthorities": f"{ACCOUNT}/ca.crt"}}


def test_without_events_there_is_neither_right_nor_token():
    documents = objects(template("--values", EXAMPLES["minimal"], "--set", "events.enabled=false").stdout)
    assert not [d for d in documents if d["metadata"]["name"] == "perssd-events"]
    subjects = {s["name"] for d in documents if d["kind"].endswith("Binding") for s in d["subjects"]}
    assert subjects == {"perssd-controller"}
    (node,) = [d for d in documents if d["kind"] == "DaemonSet"]
    assert "serviceAccountToken" not in str(node) and ACCOUNT not in str(node)
    settings = [yaml.safe_load(d["data"]["perssd.yaml"])["kubernetes"] for d in documents if d["kind"] == "ConfigMap"]
    # Text, and not the word that YAML takes for "no".
    assert settings == [{"events": "off"}] * 2


def test_the_pods_are_scraped():
    variant = "volume-groups"
    monitor = the(variant, "PodMonitor")
    assert monitor["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    # Fields of its definition (prometheus-operator v0.80), and no namespaceSelector: the namespace that it is in.
    assert set(monitor["spec"]) == {"selector", "podMetricsEndpoints"}
    endpoint, = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint == {"port": "metrics", "path": "/metrics", "interval": "30s"}
    chosen = monitor["spec"]["selector"]["matchLabels"].items()
    for workload in of_kind(variant, "Deployment", "DaemonSet"):
        assert chosen <= workload["spec"]["template"]["metadata"]["labels"].items()
        assert [p["name"] for c in pod(workload)["containers"] for p in c.get("ports", [])].count("metrics") == 1
    for other in ("minimal", "shared-directory"):
        assert not of_kind(other, "PodMonitor")


def test_a_change_of_the_settings_restarts_what_reads_them_and_no_more():
    def checksums(*arguments):
        documents = objects(template("--values", EXAMPLES["minimal"], *arguments).stdout)
        return {d["kind"]: d["spec"]["template"]["metadata"]["annotations"]["checksum/configuration"]
                for d in documents if d["kind"] in ("Deployment", "DaemonSet")}

    before = checksums()
    pools = checksums("--set", "node.pools[0].name=default,node.pools[0].directory=/other")
    assert pools["Deployment"] == before["Deployment"] and pools["DaemonSet"] != before["DaemonSet"]
    collection = checksums("--set", "collection.interval=12h")
    assert collection["Deployment"] != before["Deployment"] and collection["DaemonSet"] == before["DaemonSet"]


def test_kubelet_in_another_directory():
    plugin = container("shared-directory", "perssd-node")
    kubelet = "/var/lib/k0s/kubelet"
    paths = {mount["name"]: mount["mountPath"] for mount in plugin["volumeMounts"]}
    assert paths["pods"] == f"{kubelet}/pods" and paths["pool-0"] == "/scratch/perssd"
    assert "/var/lib/kubelet" not in str(rendered("shared-directory"))
