#!/usr/bin/env bash
# An image archive as others read it: skopeo, podman, and as a last resort its layer unpacked and run by chroot.
# Usage: image.sh ARCHIVE WORK_DIR. Running it needs root; what a kernel or a machine does not allow is said.
set -euo pipefail
archive=$(realpath "$1")
mkdir -p "$2"
work=$(mktemp -d -p "$(realpath "$2")")
trap 'rm -rf "$work"' EXIT

fail() { echo "FAILED: $*" >&2 && exit 1; }
skip() { [ "${CI:-}" != true ] || fail "$*"; echo "SKIPPED: $*"; }

mkdir "$work/image" "$work/root"
tar -xf "$archive" -C "$work/image"
python3 - "$work/image" >"$work/layer" <<'END'
import gzip, hashlib, json, pathlib, sys
root = pathlib.Path(sys.argv[1])
def blob(described):
    data = (root / "blobs" / described["digest"].replace(":", "/")).read_bytes()
    assert len(data) == described["size"] and "sha256:" + hashlib.sha256(data).hexdigest() == described["digest"], described
    return data
(manifest,) = json.loads((root / "index.json").read_text())["manifests"]
manifest = json.loads(blob(manifest))
config, (layer,) = json.loads(blob(manifest["config"])), manifest["layers"]
diff = "sha256:" + hashlib.sha256(gzip.decompress(blob(layer))).hexdigest()
assert config["rootfs"]["diff_ids"] == [diff], "diff_ids"
(docker,) = json.loads((root / "manifest.json").read_text())
path = "blobs/" + layer["digest"].replace(":", "/")
assert docker["Layers"] == [path] and docker["Config"].endswith(manifest["config"]["digest"][7:]), docker
assert config["config"]["User"] == "65534:65534" and config["config"]["Entrypoint"] == ["/gambi"], config
print(root / path)
END
echo "ok: digests, sizes and both manifests"

if command -v skopeo >/dev/null; then
	for kind in oci docker; do
		said=$(skopeo inspect --config "$kind-archive:$archive" 2>&1) || fail "skopeo, $kind-archive: $said"
		grep -q '"/gambi"' <<<"$said" || fail "skopeo, $kind-archive: no entry point in $said"
		echo "ok: skopeo reads the $kind-archive"
	done
else
	skip "skopeo is not here"
fi

if [ "$(id -u)" = 0 ]; then
	tar -xzf "$(cat "$work/layer")" -C "$work/root"
	[ ! -e "$work/root/usr" ] || fail "more than the binary is in the layer"
	said=$(HOME=/state XDG_STATE_HOME=/state chroot --userspec=65534:65534 "$work/root" /gambi demo --once --format json 2>&1) ||
		fail "the binary in the layer: $said"
	grep -q '"completed"' <<<"$said" || fail "the binary in the layer: $said"
	echo "ok: a chat in the unpacked layer, as user 65534"
else
	skip "running the unpacked layer needs root"
fi

if command -v podman >/dev/null; then
	podman=(podman --root "$work/podman" --runroot "$work/run" --storage-driver vfs --cgroup-manager cgroupfs --events-backend file)
	said=$("${podman[@]}" load -q -i "$archive" 2>&1) || fail "podman load: $said"
	name=$(sed -n 's/^Loaded image: *//p' <<<"$said" | head -n 1)
	echo "ok: podman load: $name"
	if said=$("${podman[@]}" run --rm --network none --cgroups disabled --ulimit host "$name" --version 2>&1); then
		echo "ok: podman run: $said"
	else
		skip "podman run is not allowed here: $(tail -n 1 <<<"$said")"
	fi
else
	skip "podman is not here"
fi
