"""Tests of the chart that need no cluster. `./dev chart-test` runs them with Helm 3 and Helm 4.

chart.py          compares with what is in golden/
chart.py --write  writes it, for a change that was meant
"""

import difflib
import hashlib
import json
import pathlib
import re
import sys

from render import CHART, ROOT, VALUES, helm, notes, objects, one, template

GOLDEN = pathlib.Path(__file__).parent / "golden"
FEATURES = sorted(path.stem for path in VALUES.glob("*.yaml"))


def with_values(name):
    return ["--values", VALUES / f"{name}.yaml"]


def container(found):
    return one(found, "DaemonSet")["spec"]["template"]["spec"]["containers"][0]


def environment(found):
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container(found)["env"]}


def refusal(*arguments):
    """Why Helm does not render this."""
    try:
        template(*arguments)
    except RuntimeError as error:
        return str(error)
    raise AssertionError(f"{arguments} is rendered")


def test_lint():
    for name in FEATURES:
        code, out, err = helm("lint", "--strict", CHART, *with_values(name))
        assert code == 0, f"{name}: {out}{err}"


def test_golden():
    """Each feature's render as a difference to the default one, which is itself deploy/manifests (another check)."""
    default = lines(template())
    for name in FEATURES:
        text = template(*with_values(name))
        objects(text)
        changed = difflib.unified_diff(default, lines(text), "default", name, lineterm="", n=2)
        # Without the lines' numbers: what is added above moves nothing here.
        changed = ("@@" if line.startswith("@@ ") else line for line in changed)
        compare(GOLDEN / f"{name}.diff", "\n".join(changed) + "\n")
    compare(GOLDEN / "incumbent.notes", notes(*with_values("incumbent")))


def lines(text):
    """Helm 4 puts an empty line after each object."""
    return re.sub(r"\n\n---\n", "\n---\n", text).splitlines()


def compare(path, text):
    if "--write" in sys.argv:
        path.write_text(text)
        return
    kept = path.read_text() if path.exists() else ""
    if kept != text:
        print(
            "\n".join(
                difflib.unified_diff(kept.splitlines(), text.splitlines(), f"kept {path.name}", "now", lineterm="")
            )
        )
        raise AssertionError(f"{path} differs; if that is meant: ./dev chart-test --write")


def test_every_golden_file_has_its_values():
    stale = {path.stem for path in GOLDEN.glob("*.diff")} - set(FEATURES)
    assert not stale, stale


def test_no_privilege_beyond_what_is_needed():
    for name in FEATURES:
        found = objects(template(*with_values(name)))
        pod, context = one(found, "DaemonSet")["spec"]["template"]["spec"], container(found)["securityContext"]
        assert "privileged" not in context and "initContainers" not in pod and "hostPID" not in pod, name
        wanted = ["NET_ADMIN", "SYS_ADMIN"] if name == "enter-namespaces" else ["NET_ADMIN"]
        assert context["capabilities"] == {"drop": ["ALL"], "add": wanted}, name
        assert context["readOnlyRootFilesystem"] is True and context["allowPrivilegeEscalation"] is False, name


def test_rights_follow_the_features():
    def rules(name):
        role = one(objects(template(*(with_values(name) if name else []))), "ClusterRole")
        return {(each["apiGroups"][0], each["resources"][0]): each["verbs"] for each in role["rules"]}

    reads = ["list", "watch"]
    base = rules(None)
    assert base == {
        ("", "nodes"): reads,
        ("", "nodes/status"): ["patch"],
        ("events.k8s.io", "events"): ["create", "patch"],
    }
    assert rules("annotate-pod-ip") == {**base, ("", "pods"): [*reads, "patch"]}
    assert rules("custom-networking") == {**base, ("crd.k8s.amazonaws.com", "eniconfigs"): reads}
    assert rules("pod-eni") == {**base, ("vpcresources.k8s.aws", "cninodes"): [*reads, "patch"]}
    for wildcard in ("*", "escalate", "bind", "impersonate", "delete"):
        for name in FEATURES:
            assert all(wildcard not in verbs and wildcard not in key for key, verbs in rules(name).items()), name


def test_the_controller_is_there_on_request_and_has_three_objects_rights():
    assert not [each for each in objects(template()) if "controller" in each["metadata"]["name"]]
    found = objects(template(*with_values("controller")))
    by_name = {
        (each["apiGroups"][0], each["resources"][0]): (each["resourceNames"], each["verbs"])
        for each in one(found, "Role", "aws-node-controller")["rules"]
    }
    # The room's own tests, against a real API server, have exactly these.
    assert by_name == {
        ("apps", "daemonsets"): (["aws-node"], ["get", "list", "watch", "patch"]),
        ("", "configmaps"): (["aws-node-managed"], ["list", "watch"]),
        ("coordination.k8s.io", "leases"): (["aws-node-controller"], ["get", "create", "update"]),
    }
    pod = one(found, "Deployment")["spec"]["template"]
    labels = one(found, "DaemonSet")["spec"]["selector"]["matchLabels"]
    assert not labels.items() <= pod["metadata"]["labels"].items(), "the DaemonSet would take its pods for its own"
    context = pod["spec"]["containers"][0]["securityContext"]
    assert context["runAsNonRoot"] and context["capabilities"] == {"drop": ["ALL"]}
    assert pod["spec"]["serviceAccountName"] == "aws-node-controller"


def test_the_metrics_helper_is_there_on_request_once_and_reads_pods_only():
    assert not [each for each in objects(template()) if "helper" in each["metadata"]["name"]]
    found = objects(template(*with_values("metrics-helper")))
    rules = one(found, "Role", "cni-metrics-helper")["rules"]
    # The test of whole clusters has the helper work with these.
    assert [(each["apiGroups"], each["resources"], each["verbs"]) for each in rules] == [
        ([""], ["pods"], ["list"]),
        ([""], ["pods/proxy"], ["get"]),
    ]
    assert not [each for each in found if each["kind"] == "ClusterRole" and "helper" in each["metadata"]["name"]]
    deployment = one(found, "Deployment")["spec"]
    assert deployment["replicas"] == 1 and deployment["strategy"] == {"type": "Recreate"}
    pod = deployment["template"]
    labels = one(found, "DaemonSet")["spec"]["selector"]["matchLabels"]
    assert not labels.items() <= pod["metadata"]["labels"].items(), "the DaemonSet would take its pods for its own"
    assert pod["metadata"]["labels"]["k8s-app"] != "aws-node", "it would read itself"
    container = pod["spec"]["containers"][0]
    assert container["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    values = {each["name"]: each.get("value") for each in container["env"] if "value" in each}
    assert values == {
        "AWS_CLUSTER_ID": "prod",
        "METRIC_UPDATE_INTERVAL": "60",
        "USE_CLOUDWATCH": "true",
        "USE_PROMETHEUS": "true",
    }
    assert pod["spec"]["tolerations"] == [{"key": "CriticalAddonsOnly", "operator": "Exists"}]
    assert container["ports"] == [{"name": "metrics", "containerPort": 61681, "protocol": "TCP"}]
    for said, served in {"yes": True, "1": True, "TRUE": True, "no": False, "false": False}.items():
        given = ["--set-string", f"holdfast.metricsHelper.env.USE_PROMETHEUS={said}", "--set", "holdfast.metricsHelper.enabled=true"]
        assert ("ports" in one(objects(template(*given)), "Deployment")["spec"]["template"]["spec"]["containers"][0]) == served, said
    account = one(found, "ServiceAccount", "cni-metrics-helper")
    assert pod["spec"]["serviceAccountName"] == "cni-metrics-helper"
    assert account["metadata"]["annotations"] == {
        "eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/metrics-helper"
    }


def test_the_controller_is_told_what_is_rendered():
    """Its ConfigMap has of the DaemonSet what is managed, as it is in the very same render, and nothing of the user's."""
    table = re.findall(r"^\| `([^`]+)` \| (`.*`) \| ", (ROOT / "docs/drift.md").read_text(), re.MULTILINE)
    assert len(table) > 15, table
    for name in ("controller", "controller-beside"):
        found = objects(template(*with_values(name)))
        daemon_set = one(found, "DaemonSet")
        full = daemon_set["metadata"]["name"]
        config = one(found, "ConfigMap", f"{full}-managed")["data"]
        digest = hashlib.sha256(config["daemonset.json"].encode()).hexdigest()
        assert config["render"] == digest == daemon_set["metadata"]["annotations"]["holdfast/render"], name
        managed = json.loads(config["daemonset.json"])
        arguments = one(found, "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"]
        assert f"--daemon-set={full}" in arguments and f"--config-map={full}-managed" in arguments
        for part, fields in table:
            there, told = at(daemon_set, part), at(managed, part)
            for field in re.findall(r"`([^`]+)`", fields):
                if field == "holdfast/render":
                    continue
                assert at(there, field) == at(told, field), f"{name}: {part} {field}"
        assert set(managed["spec"]) == {"template"}
        container = managed["spec"]["template"]["spec"]["containers"][0]
        assert "resources" not in container and not [each for each in container["env"] if "WARM" in each["name"]]
    # A change of the user's settings alone is no other render; one of the image is.
    def render(*more):
        return one(objects(template(*with_values("controller"), *more)), "ConfigMap", "aws-node-managed")["data"]["render"]

    assert render() == render("--set", "env.WARM_IP_TARGET=7", "--set", "resources.requests.cpu=1", "--set", "nodeSelector.a=b")
    assert render() != render("--set", "holdfast.image.tag=other")


def at(value, path):
    """What is at such a place, as docs/drift.md writes them; nothing where there is none."""
    if value is None:
        return None
    if path in value:
        return value[path]
    for name, item in re.findall(r"([^.\[\]]+)(?:\[([^\]]+)\])?\.?", path):
        value = value.get(name)
        if item and value is not None:
            key = "mountPath" if name == "volumeMounts" else "name"
            value = next((each for each in value if each[key] == item), None)
        if value is None:
            return None
    return value


def test_a_feature_that_a_secret_may_switch_on_has_its_rights():
    values = {"extraEnv": [{"name": "ANNOTATE_POD_IP", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}]}
    role = one(objects(template("--set-json", "extraEnv=" + json.dumps(values["extraEnv"]))), "ClusterRole")
    assert {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch", "patch"]} in role["rules"]


def test_a_feature_has_its_rights_however_it_is_switched_on():
    wanted = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch", "patch"]}
    name = "ANNOTATE_POD_IP"
    for given in (
        {"env": {name: True}},
        {"extraEnv": [{"name": name, "value": "1"}]},
        {"holdfast": {"config": {"annotate-pod-ip": "true"}}},
        {"holdfast": {"config": {name: "true"}}},
        {"holdfast": {"nodeGroups": {"a": {"selector": "x"}, "b": {"selector": "y", "settings": {name: "T"}}}}},
        # What the environment says counts less where the cluster says otherwise of some nodes.
        {"env": {name: "false"}, "holdfast": {"nodeGroups": {"b": {"selector": "y", "settings": {name: True}}}}},
    ):
        role = one(objects(template(*(part for key in given for part in ("--set-json", f"{key}={json.dumps(given[key])}")))), "ClusterRole")
        assert wanted in role["rules"], given
    off = ["--set", "holdfast.config.ANNOTATE_POD_IP=false", "--set", "env.ANNOTATE_POD_IP=0"]
    assert wanted not in one(objects(template(*off)), "ClusterRole")["rules"]


def test_another_network_configuration_is_another_template():
    def pod(contents, *more):
        given = ["--set", "cniConfig.enabled=true", "--set-json", "cniConfig.fileContents=" + json.dumps(contents)]
        return one(objects(template(*given, *more)), "DaemonSet")["spec"]["template"]

    one_file, other = '{"plugins": [1]}', '{"plugins": [2]}'
    assert pod(one_file) == pod(one_file) != pod(other)
    assert pod(one_file, "--set", "podAnnotations.note=x")["metadata"]["annotations"]["note"] == "x"
    assert "annotations" not in one(objects(template()), "DaemonSet")["spec"]["template"]["metadata"]


def test_the_incumbents_values_are_taken_and_what_is_ignored_is_named():
    found = objects(template(*with_values("incumbent")))
    image = container(found)["image"]
    assert image.startswith("localhost/holdfast:"), f"{image}: another program's image would run"
    assert environment(found)["WARM_ENI_TARGET"] == "2"
    assert container(found)["livenessProbe"]["exec"]["command"][0] == "/app/grpc-health-probe"
    said = notes(*with_values("incumbent"))
    for key in (
        "image.override",
        "init.image",
        "nodeAgent.logLevel",
        "securityContext.capabilities",
        "env.VPC_CNI_VERSION",
        "eniConfig.region",
    ):
        assert f"\n  {key}: " in said, key
    assert "WILL NOT START" not in said
    # What counts is not said to be ignored, and with no such values nothing is.
    assert "pullPolicy" not in said and "WARM_ENI_TARGET" not in said
    assert "do nothing" not in notes()


def test_settings_that_the_daemon_refuses_are_set_and_said():
    for name, value in {
        "ENABLE_IPv6": "true",
        "ENABLE_POD_ENI": "1",
        "ENABLE_IPv4": "false",
        "NETWORK_POLICY_ENFORCING_MODE": "Strict",
    }.items():
        given = ["--set-string", f"env.{name}={value}"]
        assert environment(objects(template(*given)))[name] == value
        said = notes(*given)
        assert "WILL NOT START" in said and f"\n  {name}\n" in said, name
    own = {"MY_NODE_NAME", "MY_POD_NAME", "HOLDFAST_DAEMON_SET", "HOLDFAST_PROC_SYS", "HOLDFAST_PLUGIN", "HOST_CNI_BIN_PATH", "HOST_CNI_CONFDIR_PATH"}
    assert set(environment(objects(template()))) == own


def test_mistakes_are_refused_with_words():
    for given, words in {
        "env.WARM_IP_TARGTE=1": "WARM_IP_TARGTE",
        "env.HOLDFAST_LEDGER=/tmp/x": "HOLDFAST_LEDGER is set by the chart",
        "tolerationz=1": "tolerationz",
        "holdfast.image.repo=x": "repo",
        "holdfast.nodeReadinessRule.taintKey=example.com/x": "taintKey",
        "enableNetworkPolicy=true": "networkPolicyByOthers",
        "enableNetworkPolicy=yes": "enableNetworkPolicy",
        "holdfast.image.digest=latest": "digest",
        "fullnameOverride=MyNetwork": "fullnameOverride",
        "fullnameOverride=a_b": "fullnameOverride",
        "nameOverride=-a": "nameOverride",
        "serviceAccount.name=A": "name",
        # The daemons' label: it would read itself. And their service account.
        "holdfast.metricsHelper.name=aws-node": "metricsHelper",
        "holdfast.metricsHelper.tolerations=x": "tolerations",
    }.items():
        assert words in refusal("--set-string", given), given
    assert "fileContents" in refusal("--set", "cniConfig.enabled=true")
    assert "serviceAccount.name" in refusal("--set", "serviceAccount.create=false")
    assert "eniConfig.subnets" in refusal("--set", "eniConfig.create=true")
    assert "WARM_IP_TARGTE" in refusal("--set-json", 'extraEnv=[{"name":"WARM_IP_TARGTE","value":"1"}]')
    group = {"selector": "a=b", "settings": {"WARM_IP_TARGTE": 1}}
    assert "WARM_IP_TARGTE" in refusal("--set-json", "holdfast.nodeGroups=" + json.dumps({"g": group}))
    assert "selector" in refusal("--set-json", 'holdfast.nodeGroups={"g":{"settings":{}}}')
    assert "1.29" in refusal("--kube-version", "1.29.0")
    template("--set", "serviceAccount.create=false", "--set", "serviceAccount.name=other")
    template("--set-string", "enableNetworkPolicy=true", "--set", "holdfast.networkPolicyByOthers=true")


def test_the_chart_knows_each_setting_of_the_daemon():
    read, not_yet = set(), set()
    for path in (ROOT / "daemon/src").rglob("*.rs"):
        if "tests" in path.parts or path.stem == "tests":
            continue
        code = path.read_text().split("#[cfg(test)]\nmod tests {")[0]
        found = set(re.findall(r'"([A-Z][A-Za-z0-9]*_[A-Za-z0-9_]+)"', code))
        read |= {name for name in found if not name.startswith(("CARGO_", "KUBERNETES_SERVICE_"))}
        not_yet |= found if path.stem == "not_yet" else set()
        for table in re.findall(r"const NOT_YET\b.*?\];", code, re.DOTALL):
            not_yet |= set(re.findall(r'"([A-Z][A-Za-z0-9]*_[A-Za-z0-9_]+)"', table))
    assert len(read) > 30, read
    # Under this name the ledger keeps what the API server said last; nobody sets it.
    read -= {"HOLDFAST_ENI_CONFIG"}
    known = (CHART / "templates/_settings.tpl").read_text().split()
    assert read <= set(known), read - set(known)
    # Nor are those that count said to do nothing.
    ignored = set(re.findall(r'"env\.([A-Za-z0-9_]+)"', (CHART / "templates/_ignored.tpl").read_text()))
    assert not ignored & (read - not_yet), ignored & (read - not_yet)


def test_names_of_settings_are_there_once():
    found = objects(template(*with_values("overrides")))
    names = [each["name"] for each in container(found)["env"]]
    assert len(names) == len(set(names)), names
    settings = environment(found)
    assert settings["WARM_IP_TARGET"] == "1000000" and settings["MINIMUM_IP_TARGET"] == "20"
    assert settings["CLUSTER_NAME"] == {"configMapKeyRef": {"name": "cluster", "key": "name"}}
    labels = one(found, "DaemonSet")["spec"]["template"]["metadata"]["labels"]
    assert labels["k8s-app"] == "aws-node" and labels["team"] == "network"
    selector = one(found, "DaemonSet")["spec"]["selector"]["matchLabels"]
    assert selector.items() <= labels.items()


def test_targets_for_windows_are_not_there_to_be_taken_for_linux():
    config = one(objects(template(*with_values("incumbent"))), "ConfigMap", "amazon-vpc-cni")["data"]
    assert not [key for key in config if key.startswith(("warm-", "minimum-"))], config
    config = one(objects(template(*with_values("windows"))), "ConfigMap", "amazon-vpc-cni")["data"]
    assert config["warm-prefix-target"] == "2" and config["minimum-ip-target"] == "3"


def main():
    failed = 0
    tests = [(name, test) for name, test in globals().items() if name.startswith("test_")]
    for name, test in tests:
        try:
            test()
            print(f"ok      {name}")
        except Exception as error:  # noqa: BLE001: each test is judged by itself
            failed += 1
            print(f"FAILED  {name}: {type(error).__name__}: {error}")
    print(f"{len(tests) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
