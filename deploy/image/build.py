"""Packs the image: an OCI layout that is a Docker archive too, in one tar file. `./dev image` runs it.

From scratch: the daemon, the plugin, `nft`, the libraries that these ask for, and certificates. The same files give the
same bytes: times are zero, entries are sorted, owners are root. Nothing is fetched, and no container engine is needed.

    ctr --namespace k8s.io images import FILE      docker load --input FILE
"""

import argparse
import gzip
import hashlib
import io
import json
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tarfile

# What the registry keeps and a node fetches; and what a node's disk holds. The first is the promise.
MOST_PACKED = 30_000_000
MACHINES = {0x3E: "amd64", 0xB7: "arm64"}
CERTIFICATES = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"]

# Where the manifest mounts something. A runtime cannot make these in a root that is read-only, if it does not write below it.
MOUNTS = [
    "dev",
    "etc/holdfast/cni",
    "host/etc/cni/net.d",
    "host/opt/cni/bin",
    "host/proc/sys/net",
    "proc",
    "run/holdfast",
    "run/netns",
    "run/secrets/kubernetes.io/serviceaccount",
    "sys",
    "tmp",
    "var/lib/holdfast",
]


def machine(path):
    """The processor that a program is for."""
    head = pathlib.Path(path).read_bytes()[:20]
    if head[:4] != b"\x7fELF":
        raise SystemExit(f"{path} is no ELF program")
    number = struct.unpack_from("<H", head, 18)[0]
    if number not in MACHINES:
        raise SystemExit(f"{path} is for an unknown processor, {number:#x}")
    return MACHINES[number]


def libraries(program):
    """The shared libraries that a program needs, its loader included, by the paths at which it looks for them."""
    done = subprocess.run(["ldd", program], capture_output=True, text=True, timeout=30)
    if done.returncode != 0:
        if "not a dynamic executable" in done.stderr + done.stdout or "statically linked" in done.stdout:
            return []
        raise SystemExit(f"ldd {program}: {done.stderr.strip()}")
    if missing := re.findall(r"(\S+) => not found", done.stdout):
        raise SystemExit(f"{program} needs {', '.join(missing)}, which is not here")
    return re.findall(r"(?:=> )?(/\S+) \(0x", done.stdout)


def licences(paths):
    """Debian's copyright file of the package that each path is from; nothing elsewhere."""
    if not shutil.which("dpkg-query"):
        return {}
    found = {}
    for path in paths:
        # A merged /usr: dpkg knows a file by the one or the other path.
        for name in {
            str(path),
            str(pathlib.Path(path).resolve()),
            re.sub(r"^/usr", "", str(pathlib.Path(path).resolve())),
        }:
            done = subprocess.run(["dpkg-query", "--search", name], capture_output=True, text=True, timeout=30)
            if done.returncode == 0:
                package = done.stdout.split(":")[0]
                copyright_file = pathlib.Path(f"/usr/share/doc/{package}/copyright")
                if copyright_file.is_file():
                    found[f"usr/share/doc/{package}/copyright"] = (0o644, copyright_file.read_bytes())
                break
    return found


def contents(options):
    """All files, by their paths in the image: mode and bytes, or where a link leads."""
    files = {
        "holdfast": (0o755, options.daemon.read_bytes()),
        "app/aws-cni": (0o755, options.plugin.read_bytes()),
        # The name that probes of the Amazon VPC CNI's manifests start.
        "app/grpc-health-probe": "../holdfast",
        "usr/sbin/nft": (0o755, options.nft.read_bytes()),
        "etc/nsswitch.conf": (0o644, b"hosts: files dns\n"),
        "etc/ssl/certs/ca-certificates.crt": (0o644, options.certificates.read_bytes()),
        "var/run": "../run",
    }
    for chained in options.chained:
        files[f"app/{chained.name}"] = (0o755, chained.read_bytes())
    needed = sorted({path for program in (options.daemon, options.nft) for path in libraries(program)})
    for path in needed:
        files[path.lstrip("/")] = (0o755, pathlib.Path(path).read_bytes())
    files.update(licences([options.nft, *needed]))
    return files


def add(archive, name, kind, mode, data=b"", link=""):
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.size, entry.linkname = kind, mode, len(data), link
    entry.uid = entry.gid = entry.mtime = 0
    archive.addfile(entry, io.BytesIO(data))


def layer(files):
    """One layer as tar, folders before what is in them."""
    folders = {
        str(parent)
        for name in [*files, *(f"{mount}/." for mount in MOUNTS)]
        for parent in pathlib.PurePosixPath(name).parents
    }
    folders = sorted((folders | set(MOUNTS)) - {"."})
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for folder in folders:
            add(archive, folder, tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755)
        for name, content in sorted(files.items()):
            if isinstance(content, str):
                add(archive, name, tarfile.SYMTYPE, 0o777, link=content)
            else:
                add(archive, name, tarfile.REGTYPE, content[0], data=content[1])
    return out.getvalue()


def digest(data):
    return hashlib.sha256(data).hexdigest()


def text(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def pack(options):
    """The archive's bytes, and the size of its one layer packed and unpacked."""
    architecture = machine(options.daemon)
    for program in (options.plugin, options.nft, *options.chained):
        if machine(program) != architecture:
            raise SystemExit(f"{program} is for {machine(program)}, the daemon for {architecture}")
    plain = layer(contents(options))
    packed = gzip.compress(plain, 9, mtime=0)
    labels = {
        "org.opencontainers.image.title": "holdfast",
        "org.opencontainers.image.version": options.version,
        "org.opencontainers.image.licenses": "Apache-2.0",
    }
    config = text(
        {
            "architecture": architecture,
            "os": "linux",
            "config": {
                "Entrypoint": ["/holdfast"],
                "Cmd": ["run"],
                "Env": ["PATH=/usr/sbin:/usr/bin:/app"],
                "User": "0:0",
                "WorkingDir": "/",
                "Labels": labels,
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest(plain)}"]},
            "history": [{"created_by": "deploy/image/build.py"}],
        }
    )

    def described(data, media, **more):
        return {"mediaType": media, "digest": f"sha256:{digest(data)}", "size": len(data), **more}

    manifest = text(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": described(config, "application/vnd.oci.image.config.v1+json"),
            "layers": [described(packed, "application/vnd.oci.image.layer.v1.tar+gzip")],
            "annotations": labels,
        }
    )
    reference = f"{options.name}:{options.version}"
    names = {"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": options.version}
    platform = {"architecture": architecture, "os": "linux"}
    index = text(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [
                described(
                    manifest, "application/vnd.oci.image.manifest.v1+json", platform=platform, annotations=names
                )
            ],
        }
    )
    blobs = {f"blobs/sha256/{digest(data)}": data for data in (config, packed, manifest)}
    docker = text(
        [
            {
                "Config": f"blobs/sha256/{digest(config)}",
                "Layers": [f"blobs/sha256/{digest(packed)}"],
                "RepoTags": [reference],
            }
        ]
    )
    files = {
        "oci-layout": text({"imageLayoutVersion": "1.0.0"}),
        "index.json": index,
        "manifest.json": docker,
        **blobs,
    }
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for folder in ("blobs", "blobs/sha256"):
            add(archive, folder, tarfile.DIRTYPE, 0o755)
        for name, data in sorted(files.items()):
            add(archive, name, tarfile.REGTYPE, 0o644, data=data)
    return out.getvalue(), len(packed), len(plain), digest(manifest)


def main():
    parser = argparse.ArgumentParser(description="Packs the image.")
    parser.add_argument("--daemon", type=pathlib.Path, required=True)
    parser.add_argument("--plugin", type=pathlib.Path, required=True)
    parser.add_argument("--nft", type=pathlib.Path, default=shutil.which("nft"), help="default: the one in PATH")
    parser.add_argument(
        "--chained", type=pathlib.Path, action="append", default=[], help="a further CNI plugin to carry, as portmap"
    )
    parser.add_argument(
        "--certificates",
        type=pathlib.Path,
        default=next(filter(lambda path: pathlib.Path(path).exists(), CERTIFICATES), None),
    )
    parser.add_argument("--name", default="localhost/holdfast")
    parser.add_argument("--version", required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args()
    for name, package in (("nft", "nftables"), ("certificates", "ca-certificates")):
        if getattr(options, name) is None:
            raise SystemExit(f"no {name} here: install Debian's {package}, or give --{name}")
    if libraries(options.plugin):
        raise SystemExit(f"{options.plugin} is not static: it has to start on any node")
    data, packed, plain, name = pack(options)
    print(
        f"{options.out}: {options.name}:{options.version}@sha256:{name}, {packed / 1e6:.1f} MB to fetch, {plain / 1e6:.1f} MB unpacked"
    )
    if packed > MOST_PACKED:
        raise SystemExit(f"that is over {MOST_PACKED / 1e6:.0f} MB")
    new = options.out.with_name(options.out.name + ".new")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    new.write_bytes(data)
    new.replace(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
