#!/usr/bin/env python3
"""Packs a static binary into an OCI image archive that `docker load` takes as well, the same bytes each time.

Usage: pack_image.py BINARY OUTPUT.tar
"""

import datetime
import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile

USER = 65534
PORT = 3000
OCI = "application/vnd.oci.image"
# e_machine of the ELF header, and what OCI calls that processor.
MACHINES = {62: {"architecture": "amd64"}, 183: {"architecture": "arm64"}, 40: {"architecture": "arm", "variant": "v7"}}


def tar(entries):
    """A tar archive of (name, mode, owner, content); a content of None is a directory."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, mode, owner, content in entries:
            info = tarfile.TarInfo(name)
            info.mode, info.uid, info.gid = mode, owner, owner
            info.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            info.size = len(content or b"")
            archive.addfile(info, io.BytesIO(content or b""))
    return out.getvalue()


def digest(data):
    return hashlib.sha256(data).hexdigest()


def encoded(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def descriptor(kind, data, **more):
    return {"mediaType": f"{OCI}.{kind}", "digest": f"sha256:{digest(data)}", "size": len(data), **more}


def layer_of(binary):
    # Accounts, for what looks names up; a directory for the state; /tmp. Nothing else: certificates are in the binary.
    return tar([
        ("etc", 0o755, 0, None),
        ("etc/group", 0o644, 0, f"root:x:0:\ngambi:x:{USER}:\n".encode()),
        ("etc/passwd", 0o644, 0, f"root:x:0:0::/:/\ngambi:x:{USER}:{USER}::/state:/gambi\n".encode()),
        ("gambi", 0o755, 0, binary),
        ("state", 0o700, USER, None),
        ("tmp", 0o1777, 0, None),
    ])


def image(binary, version, created):
    """The archive of a binary."""
    machine = MACHINES.get(int.from_bytes(binary[18:20], "little")) if binary[:4] == b"\x7fELF" else None
    if machine is None:
        sys.exit("no ELF binary of a known machine")
    layer = layer_of(binary)
    packed = gzip.compress(layer, 9, mtime=0)
    label = "org.opencontainers.image."
    config = encoded({
        **machine,
        "os": "linux",
        "created": created,
        "config": {
            "User": f"{USER}:{USER}",
            "ExposedPorts": {f"{PORT}/tcp": {}},
            "Env": ["HOME=/state", "XDG_STATE_HOME=/state"],
            "Entrypoint": ["/gambi"],
            "Cmd": ["hub", "serve", "--host", "0.0.0.0", "--port", str(PORT)],
            "WorkingDir": "/",
            "Volumes": {"/state": {}},
            "Labels": {
                label + "title": "gambi",
                label + "description": "Rooms for the local LLMs of a network",
                label + "version": version,
                label + "licenses": "MIT OR Apache-2.0",
            },
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest(layer)}"]},
        "history": [{"created": created, "created_by": "gambi"}],
    })
    manifest = encoded({
        "schemaVersion": 2,
        "mediaType": f"{OCI}.manifest.v1+json",
        "config": descriptor("config.v1+json", config),
        "layers": [descriptor("layer.v1.tar+gzip", packed)],
    })
    index = encoded({
        "schemaVersion": 2,
        "mediaType": f"{OCI}.index.v1+json",
        "manifests": [descriptor("manifest.v1+json", manifest, platform={**machine, "os": "linux"},
                                 annotations={"org.opencontainers.image.ref.name": f"gambi:{version}"})],
    })
    blobs = {f"blobs/sha256/{digest(data)}": data for data in (config, packed, manifest)}
    docker = encoded([{
        "Config": f"blobs/sha256/{digest(config)}",
        "RepoTags": [f"gambi:{version}"],
        "Layers": [f"blobs/sha256/{digest(packed)}"],
    }])
    files = {"oci-layout": encoded({"imageLayoutVersion": "1.0.0"}), "index.json": index, "manifest.json": docker, **blobs}
    directories = [(name, 0o755, 0, None) for name in ("blobs", "blobs/sha256")]
    return tar(directories + [(name, 0o644, 0, files[name]) for name in sorted(files)])


def commit_time():
    """SOURCE_DATE_EPOCH, else the time of the last commit, in RFC 3339."""
    said = os.environ.get("SOURCE_DATE_EPOCH")
    if said is None:
        git = subprocess.run(["git", "log", "-1", "--format=%ct"], capture_output=True, text=True, check=False)
        said = git.stdout.strip() or "0"
    return datetime.datetime.fromtimestamp(int(said), datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
    with open(os.path.join(root, "Cargo.toml"), encoding="utf-8") as cargo:
        version = re.search(r'^version = "(.*)"', cargo.read(), re.M).group(1)
    with open(sys.argv[1], "rb") as file:
        binary = file.read()
    if b"\0/lib64/ld-linux" in binary[:8192] or b"/lib/ld-linux" in binary[:8192]:
        sys.exit(f"{sys.argv[1]} is not static: build it with `make static`")
    with open(sys.argv[2], "wb") as out:
        out.write(image(binary, version, commit_time()))
    print(sys.argv[2])


if __name__ == "__main__":
    main()
