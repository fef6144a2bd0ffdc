"""Runs what is in the image as the manifest does: those capabilities only, a root that is read-only, the same mounts.

image.py FILE...   the archives of one image, packed twice: their bytes must be the same. Needs root, runc and a static
                   busybox, which is put beside the image's own programs to try what they may.
"""

import json
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import time

from render import VALUES, objects, one, template

PATIENCE = 120


def rendered():
    """The container that the chart makes: its security context and its mounts."""
    pod = one(objects(template()), "DaemonSet")["spec"]["template"]["spec"]
    sources = {volume["name"]: volume["hostPath"]["path"] for volume in pod["volumes"]}
    container = pod["containers"][0]
    mounts = [
        (sources[each["name"]], each["mountPath"], each.get("readOnly", False)) for each in container["volumeMounts"]
    ]
    return container, mounts


def incumbents():
    """The container that the chart makes of the Amazon VPC CNI's values: its probes start another program's name."""
    pod = one(objects(template("--values", VALUES / "incumbent.yaml")), "DaemonSet")["spec"]["template"]["spec"]
    return pod["containers"][0]


def unpack(archive, where):
    """The image's root, as a runtime makes it."""
    with tarfile.open(archive) as outer:
        manifest = json.load(outer.extractfile("manifest.json"))[0]
        config = json.load(outer.extractfile(manifest["Config"]))
        for layer in manifest["Layers"]:
            with tarfile.open(fileobj=outer.extractfile(layer), mode="r:gz") as inner:
                inner.extractall(where, filter="fully_trusted")
    return config["config"]


class Container:
    """One container of runc's, in network, PID and mount namespaces of its own, ended with the `with`."""

    def __init__(self, place, image, command, more_mounts=()):
        container, mounts = rendered()
        context = container["securityContext"]
        capabilities = [f"CAP_{name}" for name in context["capabilities"]["add"]]
        self.place, self.name = place, f"holdfast-image-{os.getpid()}-{place.name}"
        binds = []
        for source, target, read_only in mounts:
            # The node's folders are stood in for, but for the kernel's settings: those are this network namespace's.
            if not source.startswith("/proc"):
                source = place / "node" / source.lstrip("/")
                source.mkdir(parents=True, exist_ok=True)
            binds.append(bind(source, target, read_only))
        node = {each["name"]: each["value"] for each in container["env"] if "value" in each}
        node["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = "http://metadata.test:9"
        spec = {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": context["runAsUser"], "gid": context["runAsGroup"]},
                "args": command,
                "env": [*image["Env"], *(f"{key}={value}" for key, value in node.items())],
                "cwd": image["WorkingDir"],
                "capabilities": {kind: capabilities for kind in ("bounding", "effective", "permitted")},
                "noNewPrivileges": not context["allowPrivilegeEscalation"],
            },
            "root": {"path": str(place / "root"), "readonly": context["readOnlyRootFilesystem"]},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
                *binds,
                *(bind(*mount) for mount in more_mounts),
            ],
            "linux": {
                "namespaces": [{"type": kind} for kind in ("pid", "mount", "network", "ipc", "uts")],
                "readonlyPaths": ["/proc/sys"],
            },
        }
        (place / "config.json").write_text(json.dumps(spec))
        self.runc = ["runc", "--root", str(place / "runc")]
        log = (place / "log").open("wb")
        self.process = subprocess.Popen(
            [*self.runc, "run", "--bundle", str(place), self.name], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )

    def execute(self, *command):
        return subprocess.run(
            [*self.runc, "exec", self.name, *command], capture_output=True, text=True, timeout=PATIENCE
        )

    def log(self):
        return (self.place / "log").read_text(errors="replace")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run([*self.runc, "kill", self.name, "KILL"], capture_output=True, timeout=PATIENCE)
        self.process.wait(PATIENCE)
        subprocess.run([*self.runc, "delete", "--force", self.name], capture_output=True, timeout=PATIENCE)


def bind(source, target, read_only):
    return {
        "destination": target,
        "type": "bind",
        "source": str(source),
        "options": ["rbind", "rslave", "ro" if read_only else "rw"],
    }


def finished(container):
    code = container.process.wait(PATIENCE)
    return code, container.log()


def until(what, condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"no {what} within {PATIENCE} s"
        time.sleep(0.05)


def check_programs_start(place, image):
    for command, words in {
        ("/holdfast", "version"): "holdfast ",
        ("/usr/sbin/nft", "--version"): "nftables",
        ("/holdfast", "settings"): "WARM_ENI_TARGET",
    }.items():
        with Container(place, image, list(command)) as container:
            code, said = finished(container)
            assert code == 0 and words in said, f"{command}: {code}: {said}"


def check_nft_works(place, image):
    for command in (["add", "table", "ip", "holdfast-probe"], ["-j", "list", "ruleset"]):
        with Container(place, image, ["/usr/sbin/nft", *command]) as container:
            code, said = finished(container)
            assert code == 0, f"nft {command}: {said}"


def check_rights(place, image):
    """The kernel's settings can be written where the manifest mounts them and nowhere else; the root cannot."""
    busybox = subprocess.run(
        ["sh", "-c", "command -v busybox"], capture_output=True, text=True, check=True
    ).stdout.strip()
    script = """
        echo 1 >/host/proc/sys/net/ipv4/ip_forward && echo settings-written
        ( echo 1 >/proc/sys/net/ipv4/ip_forward ) 2>/dev/null || echo own-proc-sys-is-read-only
        ( : >/made ) 2>/dev/null || echo root-is-read-only
        : >/var/lib/holdfast/made && : >/host/opt/cni/bin/made && : >/host/etc/cni/net.d/made && echo folders-written
        [ -x /app/grpc-health-probe ] && echo probe-is-there
        [ ! -e /etc/passwd ] && echo no-users
        grep CapEff /proc/self/status
    """
    with Container(place, image, ["/busybox", "sh", "-c", script], [(busybox, "/busybox", True)]) as container:
        code, said = finished(container)
    for words in (
        "settings-written",
        "own-proc-sys-is-read-only",
        "root-is-read-only",
        "folders-written",
        "probe-is-there",
        "no-users",
        "CapEff:\t0000000000001000",
    ):
        assert words in said, f"{words} is not in: {said}"


def check_daemon_runs(place, image):
    """The daemon itself, with no EC2, no metadata service and no API server there: alive, and ended by SIGTERM."""
    hosts = place / "hosts"
    hosts.write_text("127.0.0.1 metadata.test\n")
    with Container(place, image, [*image["Entrypoint"], *image["Cmd"]], [(hosts, "/etc/hosts", True)]) as container:
        alive = lambda: container.execute("/holdfast", "health").returncode == 0  # noqa: E731
        until("answer to `holdfast health`; " + container.log()[-2000:], alive)
        for kind in ("livenessProbe", "readinessProbe"):
            probe = container.execute(*incumbents()[kind]["exec"]["command"])
            assert probe.returncode == 0, f"{kind}: {probe.stderr}"
        ledger = place / "node/var/lib/holdfast/ledger.redb"
        until("ledger on the node's disk", ledger.exists)
        plugin, conflist = place / "node/opt/cni/bin/aws-cni", place / "node/etc/cni/net.d/10-aws.conflist"
        until("plugin and network configuration on the node", lambda: plugin.exists() and conflist.exists())
        assert plugin.read_bytes() == (place / "root/app/aws-cni").read_bytes()
        # Names are looked up by what the image has for that.
        until("refused connection to the metadata service", lambda: "Connection refused" in container.log())
        subprocess.run(
            [*container.runc, "kill", container.name, "TERM"], check=True, capture_output=True, timeout=PATIENCE
        )
        code, said = finished(container)
        assert code == 0, said[-2000:]
        assert "lacks CAP_NET_ADMIN" not in said, said[-2000:]


def main(archives):
    if os.geteuid() != 0:
        raise SystemExit("containers are made here: run this as root")
    first = archives[0].read_bytes()
    assert all(other.read_bytes() == first for other in archives[1:]), "packed twice, the image differs"
    for name, check in [(name, check) for name, check in globals().items() if name.startswith("check_")]:
        # The rootfs is new for each, so that what one did is not there for the next.
        with tempfile.TemporaryDirectory() as place:
            place = pathlib.Path(place)
            image = unpack(archives[0], place / "root")
            check(place, image)
        print(f"ok      {name}")


if __name__ == "__main__":
    main([pathlib.Path(name) for name in sys.argv[1:]])
