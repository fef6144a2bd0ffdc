"""The chart against a real API server. `./dev chart-server-test` runs it, in namespaces of its own.

Every object of every feature passes a server-side dry run, with unknown fields refused. With exactly the chart's rights the
daemon's token may do what it is for on its own node, and nothing elsewhere.
"""

import functools
import os
import pathlib
import signal
import subprocess
import sys
import time

from cluster import ADMIN, Cluster, Refused
from render import CHART, NAMESPACE, RELEASE, VALUES, objects, template

HERE = pathlib.Path(__file__).parent
FEATURES = sorted(path.stem for path in VALUES.glob("*.yaml"))
CONDITION = "HoldfastAddressesAvailable"
POD_IPS = "vpc.amazonaws.com/pod-ips"
EVENTS = "/apis/events.k8s.io/v1/namespaces/default/events"


def applied(cluster, text, *arguments):
    return cluster.kubectl(
        "apply", "--server-side", "--force-conflicts", "--validate=strict", "--filename=-", *arguments, stdin=text
    )


def definitions(cluster):
    for path in [*sorted((CHART / "crds").glob("*.yaml")), *sorted((HERE / "crds").glob("*.yaml"))]:
        applied(cluster, path.read_text())
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=180s", "customresourcedefinitions", "--all")


def check_dry_run(cluster):
    for name in [None, *FEATURES]:
        text = template(*([] if name is None else ["--values", VALUES / f"{name}.yaml"]))
        said = applied(cluster, text, "--dry-run=server")
        assert said.count("(server dry run)") == len(objects(text)), f"{name}: {said}"
    manifests = (CHART.parents[1] / "manifests/holdfast.yaml").read_text()
    assert applied(cluster, manifests, "--dry-run=server").count("(server dry run)") == len(objects(manifests))


def check_helm_installs_upgrades_and_leaves_the_definitions(cluster):
    """As a user does it, with either Helm: once with no values, then with another program's, then away."""
    for helm in (os.environ["HELM"], os.environ["HELM4"]):
        run = functools.partial(helm_run, cluster, helm)
        said = run("install", RELEASE, CHART)
        assert "is installed as DaemonSet kube-system/aws-node" in said and "do nothing" not in said, said
        said = run("upgrade", RELEASE, CHART, "--values", VALUES / "incumbent.yaml")
        assert "\n  image.override: " in said, said
        daemon_set = cluster.ask("GET", f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/aws-node")
        containers = daemon_set["spec"]["template"]["spec"]["containers"]
        assert {"name": "WARM_ENI_TARGET", "value": "2"} in containers[0]["env"]
        run("uninstall", RELEASE)
        config_maps = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
        cluster.ask("DELETE", f"{config_maps}/amazon-vpc-cni")
        # Beside another daemon, on a cluster that has the ConfigMap already; and that stays.
        cluster.ask(
            "POST", config_maps, {"metadata": {"name": "amazon-vpc-cni"}, "data": {"enable-windows-ipam": "true"}}
        )
        force = ["--force-conflicts"] if helm == os.environ["HELM4"] else []
        run("install", "beside", CHART, "--values", VALUES / "beside.yaml", "--take-ownership", *force)
        run("uninstall", "beside")
        config = cluster.ask("GET", f"{config_maps}/amazon-vpc-cni")
        assert config["data"]["enable-windows-ipam"] == "false"
        cluster.ask("DELETE", f"{config_maps}/amazon-vpc-cni")
        cluster.ask("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/eniconfigs.crd.k8s.amazonaws.com")


def check_the_controller_lets_helm_upgrade(cluster):
    """The program itself with exactly the chart's rights, under either Helm: upgrades stand, drift does not, and what is
    uninstalled stays away."""
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/aws-node"

    def daemon_set():
        return cluster.ask("GET", path)

    def image():
        return daemon_set()["spec"]["template"]["spec"]["containers"][0]["image"]

    def environment():
        return daemon_set()["spec"]["template"]["spec"]["containers"][0]["env"]

    for helm in (os.environ["HELM"], os.environ["HELM4"]):
        run = functools.partial(helm_run, cluster, helm)
        values = ["--values", VALUES / "controller.yaml"]
        run("install", RELEASE, CHART, *values)
        deployment = cluster.ask("GET", f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/aws-node-controller")
        controller = start_controller(cluster, deployment)
        cluster.until(
            "fields that are the controller's",
            lambda: any(each["manager"] == "holdfast" for each in daemon_set()["metadata"]["managedFields"]),
        )
        for tag, sleeps in (("2", False), ("3", True), ("4", False)):
            upgrade = functools.partial(run, "upgrade", RELEASE, CHART, *values, "--set-string", f"holdfast.image.tag={tag}")
            refused = None
            if sleeps:
                controller.send_signal(signal.SIGSTOP)
            try:
                upgrade()
            except AssertionError as error:
                refused = str(error)
            controller.send_signal(signal.SIGCONT)
            # Helm 4 that comes to the DaemonSet before the controller does. As docs/drift.md has it, it is run again then.
            is_helm4 = helm == os.environ["HELM4"]
            assert refused or not (sleeps and is_helm4), "docs/drift.md speaks of a conflict that there is not"
            if refused:
                assert is_helm4 and 'with "holdfast"' in refused, refused
                cluster.until("upgrade carried on", lambda tag=tag: image() == f"localhost/holdfast:{tag}")
                upgrade()
            assert image() == f"localhost/holdfast:{tag}", image()
        before = daemon_set()["metadata"]["generation"]
        run("upgrade", RELEASE, CHART, *values, "--set-string", "holdfast.image.tag=4", "--set", "env.WARM_IP_TARGET=3")
        assert {"name": "WARM_IP_TARGET", "value": "3"} in environment()
        assert daemon_set()["metadata"]["generation"] == before + 1, "one change"
        cluster.kubectl("-n", NAMESPACE, "set", "image", "daemonset/aws-node", "aws-node=other:1")
        cluster.until("image restored", lambda: image() == "localhost/holdfast:4")
        cluster.kubectl("-n", NAMESPACE, "set", "env", "daemonset/aws-node", "WARM_IP_TARGET=9", "MINIMUM_IP_TARGET=8")
        cluster.kubectl("-n", NAMESPACE, "set", "image", "daemonset/aws-node", "aws-node=other:2")
        cluster.until("image restored", lambda: image() == "localhost/holdfast:4")
        for each in ({"name": "WARM_IP_TARGET", "value": "9"}, {"name": "MINIMUM_IP_TARGET", "value": "8"}):
            assert each in environment(), environment()
        run("uninstall", RELEASE)
        # It ends in order, and by then has done what it would do.
        cluster.end(controller)
        found = cluster.ask("GET", f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets")["items"]
        assert not found, found
        cluster.ask("DELETE", f"/api/v1/namespaces/{NAMESPACE}/configmaps/amazon-vpc-cni")


def start_controller(cluster, deployment):
    """As kubelet would: with the pod's arguments and variables, and its account's token."""
    pod = deployment["spec"]["template"]["spec"]
    account = cluster.place / "account"
    account.mkdir(exist_ok=True)
    (account / "token").write_text(cluster.token(pod["serviceAccountName"]))
    (account / "ca.crt").write_text((cluster.place / "certificates/apiserver.crt").read_text())
    (account / "namespace").write_text(NAMESPACE)
    environment = {
        "HOLDFAST_SERVICE_ACCOUNT": str(account),
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": "6443",
        "MY_NODE_NAME": "a",
        "MY_POD_NAME": "controller-1",
    }
    return cluster.launch("holdfast", *pod["containers"][0]["args"], environment=environment)


def helm_run(cluster, helm, *arguments):
    environment = {"PATH": os.environ["PATH"], "HOME": str(cluster.place)}
    command = [helm, *map(str, arguments), "--namespace", NAMESPACE, "--kubeconfig", str(cluster.kubeconfig)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, f"{arguments}: {done.stderr}"
    return done.stdout


def check_expressions(cluster, _tokens):
    """No policy speaks of a field that there is not: such an expression refuses what it should let pass."""
    policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
    expected = {f"aws-node-{kind}" for kind in ("nodes", "pods", "events", "cninodes")}

    def checked():
        found = {each["metadata"]["name"]: each for each in cluster.ask("GET", policies)["items"]}
        assert set(found) == expected, set(found)
        return all(
            each["status"].get("observedGeneration") == each["metadata"]["generation"] for each in found.values()
        )

    cluster.until("policy checked", checked)
    for each in cluster.ask("GET", policies)["items"]:
        warnings = each["status"].get("typeChecking", {}).get("expressionWarnings", [])
        assert not warnings, f"{each['metadata']['name']}: {warnings}"


def node_path(name):
    return f"/api/v1/nodes/{name}"


def pod_path(name):
    return f"/api/v1/namespaces/default/pods/{name}"


def cni_node_path(name):
    return f"/apis/vpcresources.k8s.aws/v1alpha1/cninodes/{name}"


def populate(cluster):
    """Two nodes with a daemon's pod and a user's pod each; returns the daemons' tokens by node."""
    features = ["annotate-pod-ip", "pod-eni", "custom-networking"]
    applied(cluster, template(*(part for name in features for part in ("--values", VALUES / f"{name}.yaml"))))
    cluster.ask("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    tokens = {}
    for node in ("a", "b"):
        status = {
            "capacity": {"pods": "10", "cpu": "2"},
            "allocatable": {"pods": "10"},
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
            "conditions": [condition("Ready", "True")],
            "images": [{"names": [f"image-{number}"], "sizeBytes": 1} for number in range(50)],
        }
        cluster.ask("POST", "/api/v1/nodes", {"metadata": {"name": node, "labels": {"zone": "z"}}})
        cluster.patch(node_path(node) + "/status", {"status": status}, ADMIN)
        cluster.ask(
            "POST",
            "/apis/vpcresources.k8s.aws/v1alpha1/cninodes",
            {"apiVersion": "vpcresources.k8s.aws/v1alpha1", "kind": "CNINode", "metadata": {"name": node}},
        )
        cluster.ask("POST", "/api/v1/namespaces/default/pods", pod(f"user-{node}", node, "default"))
        cluster.ask("POST", EVENTS, {**event(node), "metadata": {"name": f"seen-{node}", "namespace": "default"}})
        daemon = cluster.ask("POST", f"/api/v1/namespaces/{NAMESPACE}/pods", pod(f"daemon-{node}", node, "aws-node"))
        tokens[node] = cluster.token("aws-node", daemon)
    return tokens


def pod(name, node, account):
    containers = [
        {"name": "c", "image": "image:1", "env": [{"name": f"N{number}", "value": "v"} for number in range(20)]}
    ]
    metadata = {"name": name, "labels": {"app": "x"}, "annotations": {"kept": "1"}}
    return {"metadata": metadata, "spec": {"nodeName": node, "serviceAccountName": account, "containers": containers}}


def condition(kind, status):
    return {
        "type": kind,
        "status": status,
        "reason": "Test",
        "message": "m",
        "lastHeartbeatTime": "2026-01-01T00:00:00Z",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }


def event(node, kind="Pod", name="user-a"):
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"generateName": "e-", "namespace": "default"},
        "type": "Warning",
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "action": "AddAddress",
        "reason": "NoAddress",
        "note": "all addresses are in use",
        "reportingController": "holdfast",
        "reportingInstance": node,
        "regarding": {
            "apiVersion": "v1",
            "kind": kind,
            "name": name,
            **({"namespace": "default"} if kind == "Pod" else {}),
        },
    }


def writes(own, other):
    """What a daemon may write; what it may not, each with the words of the policy that says so."""
    strategic = "application/strategic-merge-patch+json"
    may_not_node, may_not_pod = "may not change node", "may not change a pod of node"

    def status(node, body):
        return ("PATCH", node_path(node) + "/status", {"status": body}, strategic)

    def metadata(path, body):
        return ("PATCH", path, {"metadata": body}, strategic)

    series = {"series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}}
    apply = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": own},
        "status": {"conditions": [condition(CONDITION, "True")]},
    }
    may = [
        ("PATCH", node_path(own) + "/status?fieldManager=holdfast", apply, "application/apply-patch+yaml"),
        ("PATCH", f"{EVENTS}/seen-{own}", series, "application/merge-patch+json"),
        status(own, {"conditions": [condition(CONDITION, "False")]}),
        status(own, {"conditions": [condition(CONDITION, "True")]}),
        status(own, {"conditions": [{"$patch": "delete", "type": CONDITION}]}),
        metadata(pod_path(f"user-{own}"), {"annotations": {POD_IPS: "10.0.0.9"}}),
        metadata(pod_path(f"user-{own}"), {"annotations": {POD_IPS: None}}),
        (
            "PATCH",
            pod_path(f"user-{own}"),
            [{"op": "add", "path": "/metadata/annotations/vpc.amazonaws.com~1pod-ips", "value": "10.0.0.9"}],
            "application/json-patch+json",
        ),
        ("POST", EVENTS, event(own), "application/json"),
        ("POST", EVENTS, event(own, "Node", own), "application/json"),
        (
            "PATCH",
            cni_node_path(own),
            {"spec": {"features": [{"name": "SecurityGroupsForPods", "value": ""}]}},
            "application/merge-patch+json",
        ),
    ]
    may_not = [
        (status(other, {"conditions": [condition(CONDITION, "False")]}), may_not_node),
        (status(own, {"conditions": [condition("Ready", "False")]}), "a condition other than"),
        (status(own, {"conditions": [{"$patch": "delete", "type": "Ready"}]}), "a condition other than"),
        (status(own, {"capacity": {"pods": "999"}}), "nothing of a node's status"),
        (
            status(
                own,
                {
                    "addresses": [
                        {"type": "InternalIP", "address": "10.0.0.1"},
                        {"type": "ExternalIP", "address": "1.2.3.4"},
                    ]
                },
            ),
            "nothing of a node's status",
        ),
        # A field that came with Kubernetes 1.35, by which pods are scheduled; and one that is there and goes.
        (status(own, {"declaredFeatures": ["Imagined"]}), "nothing of a node's status"),
        (status(own, {"images": None}), "nothing of a node's status"),
        (metadata(node_path(own) + "/status", {"labels": {"zone": "other"}}), "a node's metadata"),
        (metadata(node_path(own) + "/status", {"annotations": {"x": "y"}}), "a node's metadata"),
        (metadata(pod_path(f"user-{other}"), {"annotations": {POD_IPS: "10.0.0.9"}}), may_not_pod),
        (metadata(pod_path(f"user-{own}"), {"annotations": {"kept": "2"}}), "an annotation other than"),
        (metadata(pod_path(f"user-{own}"), {"annotations": {"kept": None}}), "an annotation other than"),
        (metadata(pod_path(f"user-{own}"), {"annotations": {"more": "2"}}), "an annotation other than"),
        (metadata(pod_path(f"user-{own}"), {"labels": {"app": "y"}}), "nothing of a pod"),
        (metadata(pod_path(f"user-{own}"), {"finalizers": ["example.com/x"]}), "nothing of a pod"),
        (
            (
                "PATCH",
                pod_path(f"user-{own}"),
                {"spec": {"containers": [{"name": "c", "image": "evil:1"}]}},
                strategic,
            ),
            "nothing of a pod",
        ),
        (("POST", EVENTS, event(other), "application/json"), "reportingInstance"),
        (("POST", EVENTS, event(own, "Node", other), "application/json"), "another node"),
        (("PATCH", f"{EVENTS}/seen-{other}", series, "application/merge-patch+json"), "reportingInstance"),
        (
            ("PATCH", cni_node_path(own), {"spec": {"tags": {"a": "b"}}}, "application/merge-patch+json"),
            "nothing of its CNINode",
        ),
        (
            (
                "PATCH",
                cni_node_path(own),
                {"metadata": {"finalizers": ["example.com/x"]}},
                "application/merge-patch+json",
            ),
            "nothing of its CNINode",
        ),
        (
            ("PATCH", cni_node_path(other), {"spec": {"features": []}}, "application/merge-patch+json"),
            "may not change CNINode",
        ),
    ]
    return may, may_not


def refused(cluster, request, token):
    """The API server's words, or nothing when it did as asked. Nothing is kept: a dry run passes the same admission."""
    method, path, body, kind = request
    try:
        cluster.ask(method, path + ("&" if "?" in path else "?") + "dryRun=All", body, token, kind)
    except Refused as refusal:
        return str(refusal)
    return None


def check_tokens(cluster, tokens):
    """A token is worth something on its own node, and nothing elsewhere."""
    # A token that is bound to no pod is worth nothing. Policies are in force a moment after they are there.
    loose = cluster.token("aws-node")
    for request in writes("a", "b")[0]:
        cluster.until(f"policy in force for {request[:2]}", lambda request=request: refused(cluster, request, loose))
    for own, other in (("a", "b"), ("b", "a")):
        may, may_not = writes(own, other)
        for request in may:
            why = refused(cluster, request, tokens[own])
            assert why is None, f"{request}: {why}"
        for request, words in may_not:
            why = refused(cluster, request, tokens[own])
            assert why and words in why and "ValidatingAdmissionPolicy" in why, f"{request}: {why}"
        for request in [*may, *(request for request, _ in may_not)]:
            why = refused(cluster, request, loose)
            assert why and "ValidatingAdmissionPolicy" in why, f"{request}: {why}"
        # Nobody else is bound by it.
        for request, _ in may_not:
            assert refused(cluster, request, ADMIN) is None, request


def check_rights(cluster, tokens):
    """RBAC: each read that the daemon makes, and what it must not even ask for."""
    system, token = f"/api/v1/namespaces/{NAMESPACE}", tokens["a"]
    for path, field in (
        ("/api/v1/nodes", "metadata.name=a"),
        ("/api/v1/pods", "spec.nodeName=a"),
        (f"{system}/configmaps", "metadata.name=amazon-vpc-cni"),
        (f"{system}/configmaps", "metadata.name=aws-node"),
        (f"{system}/configmaps", "metadata.name=holdfast-node-groups"),
        (f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets", "metadata.name=aws-node"),
        ("/apis/crd.k8s.amazonaws.com/v1alpha1/eniconfigs", ""),
        ("/apis/vpcresources.k8s.aws/v1alpha1/cninodes", "metadata.name=a"),
    ):
        for watch in ("", "&watch=true&timeoutSeconds=1"):
            cluster.ask("GET", f"{path}?fieldSelector={field.replace('=', '%3D')}{watch}", token=token)
    for method, path, body in (
        ("GET", node_path("a"), None),
        ("GET", pod_path("user-a"), None),
        ("GET", "/api/v1/secrets", None),
        ("GET", f"{system}/configmaps", None),
        ("GET", f"{system}/configmaps/kube-root-ca.crt", None),
        ("GET", f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets", None),
        ("GET", "/api/v1/namespaces", None),
        ("DELETE", pod_path("user-a"), None),
        ("DELETE", node_path("a"), None),
        ("DELETE", cni_node_path("a"), None),
        ("POST", "/api/v1/namespaces/default/pods", pod("more", "a", "default")),
        ("POST", f"{system}/serviceaccounts/aws-node/token", {"spec": {}}),
        ("PATCH", node_path("a"), {"spec": {"unschedulable": True}}),
        ("PATCH", pod_path("user-a") + "/status", {"status": {"phase": "Failed"}}),
        ("PATCH", f"{system}/configmaps/amazon-vpc-cni", {"data": {}}),
        ("POST", "/api/v1/namespaces/default/events", {"metadata": {"name": "e"}}),
    ):
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        try:
            cluster.ask(method, path, body, token, kind)
        except Refused as refusal:
            assert refusal.code == 403 and "cannot" in refusal.message, f"{method} {path}: {refusal}"
        else:
            raise AssertionError(f"{method} {path} is allowed")


def check_the_policies_are_what_refuses(cluster, tokens):
    """Without the bindings RBAC alone lets all of it pass: else the refusals above would prove nothing."""
    cluster.kubectl("delete", "validatingadmissionpolicybindings", "--all")
    for request, _ in writes("a", "b")[1]:
        cluster.until(
            f"leave for {request[:2]} without the policy",
            lambda request=request: refused(cluster, request, tokens["a"]) is None,
        )


def main():
    began = time.monotonic()

    def done(what):
        print(f"ok      {what} ({time.monotonic() - began:.1f} s)", flush=True)

    with Cluster() as cluster:
        done(f"API server {cluster.ask('GET', '/version')['gitVersion']}")
        check_helm_installs_upgrades_and_leaves_the_definitions(cluster)
        done("check_helm_installs_upgrades_and_leaves_the_definitions")
        check_the_controller_lets_helm_upgrade(cluster)
        done("check_the_controller_lets_helm_upgrade")
        definitions(cluster)
        check_dry_run(cluster)
        done("check_dry_run")
        tokens = populate(cluster)
        for check in (check_expressions, check_tokens, check_rights, check_the_policies_are_what_refuses):
            check(cluster, tokens)
            done(check.__name__)


if __name__ == "__main__":
    sys.exit(main())
