"""A real API server with etcd behind it, on the loopback of whatever network namespace this runs in."""

import json
import os
import pathlib
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

ADMIN = "the-admin"
# Long, for machines that have much else to do: what fails sooner says so by its end.
PATIENCE = 240
PROGRAMS = {
    "etcd": "HOLDFAST_BIN_ETCD",
    "kube-apiserver": "HOLDFAST_BIN_KUBE_APISERVER",
    "kube-controller-manager": "HOLDFAST_BIN_KUBE_CONTROLLER_MANAGER",
    "kubectl": "HOLDFAST_BIN_KUBECTL",
    "holdfast": "HOLDFAST_BIN_DAEMON",
}


def programs():
    """Where the programs are. That one is missing is an error: nothing was looked at then."""
    missing = [
        f"{variable} must name {name}"
        for name, variable in PROGRAMS.items()
        if not os.access(os.environ.get(variable, ""), os.X_OK)
    ]
    if missing:
        raise SystemExit("; ".join(missing) + ". They are built from Go modules, see deploy/README.md.")
    return {name: os.environ[variable] for name, variable in PROGRAMS.items()}


class Refused(Exception):
    """What the API server did not do, and why."""

    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


class Cluster:
    """Up when entered, gone when left: only processes that it started are ended, by their own handles."""

    def __init__(self):
        self.programs = programs()
        self.url = "https://127.0.0.1:6443"
        self.unverified = ssl._create_unverified_context()  # noqa: S323: its own certificate, on its own loopback
        self.processes = []

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.place = pathlib.Path(self.folder.name)
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.kill()
            process.wait(PATIENCE)
        self.folder.cleanup()

    def start(self):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=PATIENCE)
        key, tokens = self.place / "service-accounts.key", self.place / "tokens"
        subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True, timeout=PATIENCE)
        tokens.write_text(f'{ADMIN},admin,admin,"system:masters"\n')
        clients, peers = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
        self.launch(
            "etcd",
            f"--data-dir={self.place}/etcd",
            "--unsafe-no-fsync",
            f"--listen-client-urls={clients}",
            f"--advertise-client-urls={clients}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
        )
        self.launch(
            "kube-apiserver",
            f"--etcd-servers={clients}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--secure-port=6443",
            f"--cert-dir={self.place}/certificates",
            f"--token-auth-file={tokens}",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--endpoint-reconciler-type=none",
        )
        self.until("API server ready", lambda: self.ask("GET", "/readyz") == "ok")
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "it",
            "clusters": [{"name": "it", "cluster": {"server": self.url, "insecure-skip-tls-verify": True}}],
            "users": [{"name": "it", "user": {"token": ADMIN}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        }
        self.kubeconfig = self.place / "kubeconfig"
        self.kubeconfig.write_text(json.dumps(config))
        # Of the controllers that one which checks policies' expressions against the fields that there are.
        self.launch(
            "kube-controller-manager",
            f"--kubeconfig={self.kubeconfig}",
            f"--cert-dir={self.place}/certificates",
            "--controllers=validatingadmissionpolicy-status-controller",
            "--leader-elect=false",
            "--secure-port=0",
        )
        # What others do elsewhere.
        self.ask("POST", "/api/v1/namespaces/kube-system/serviceaccounts", {"metadata": {"name": "default"}})

    def launch(self, name, *arguments, environment=None):
        log = (self.place / f"{name}.log").open("wb")
        self.processes.append(
            subprocess.Popen(
                [self.programs[name], *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.place,
                env=environment,
            )
        )
        return self.processes[-1]

    def end(self, process):
        """Tells one that this started to end, and waits for that."""
        process.terminate()
        process.wait(PATIENCE)
        self.processes.remove(process)

    def until(self, what, condition):
        """Waits for it; the time runs out with the end of the logs."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                if condition():
                    return
            except (OSError, Refused):
                pass
            ended = [process.args[0] for process in self.processes if process.poll() is not None]
            if ended or time.monotonic() > end:
                logs = "\n".join(
                    f"{path.name}: {path.read_text(errors='replace')[-1500:]}" for path in self.place.glob("*.log")
                )
                raise AssertionError(f"no {what}: {ended or 'out of time'}\n{logs}")
            time.sleep(0.05)

    def ask(self, method, path, body=None, token=ADMIN, kind="application/json"):
        """One request; the answer as JSON, or as text where it is none."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data, {"Authorization": f"Bearer {token}", "Content-Type": kind}, method=method
        )
        try:
            with urllib.request.urlopen(request, context=self.unverified, timeout=PATIENCE) as answer:
                said = answer.read().decode()
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")
            raise Refused(
                error.code, json.loads(said).get("message", said) if said.startswith("{") else said
            ) from None
        try:
            return json.loads(said)
        except ValueError:
            return said

    def patch(self, path, body, token):
        return self.ask("PATCH", path, body, token, "application/merge-patch+json")

    def kubectl(self, *arguments, stdin=None):
        done = subprocess.run(
            [self.programs["kubectl"], f"--kubeconfig={self.kubeconfig}", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        if done.returncode != 0:
            raise Refused(done.returncode, done.stderr.strip())
        # A warning is a mistake of the chart's: a field that is deprecated or doubled.
        assert "Warning" not in done.stderr, done.stderr
        return done.stdout

    def token(self, account, pod=None):
        """A token as kubelet fetches it for a pod of the account's, or one that is bound to nothing."""
        spec = (
            {}
            if pod is None
            else {
                "boundObjectRef": {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "name": pod["metadata"]["name"],
                    "uid": pod["metadata"]["uid"],
                }
            }
        )
        path = f"/api/v1/namespaces/kube-system/serviceaccounts/{account}/token"
        answer = self.ask(
            "POST", path, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        )
        return answer["status"]["token"]
