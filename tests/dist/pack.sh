#!/usr/bin/env bash
# Packs a binary with its man page, completions, service files and README, the same bytes each time.
# Usage: pack.sh BINARY TARGET OUTPUT_DIR [GAMBI]. GAMBI prints the texts, where BINARY is for another machine.
set -euo pipefail
cd "$(dirname "$0")/../.."
bin=$1 target=$2 out=$3 gambi=${4:-$1}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
name=gambi-$version-$target
rm -rf "${out:?}/$name"
mkdir -p "$out/$name/completions" "$out/$name/services"
install -m 755 "$bin" "$out/$name/gambi"
cp README.md "$out/$name/"
"$gambi" man >"$out/$name/gambi.1"
for shell in bash zsh fish; do "$gambi" completions "$shell" >"$out/$name/completions/gambi.$shell"; done
example=(--hub http://hub:3000 --room LAB001 --participant-id my-machine --model llama3)
for role in hub participant; do
	args=()
	[ "$role" = hub ] || args=("${example[@]}")
	"$gambi" service systemd --for "$role" -- "${args[@]}" >"$out/$name/services/gambi-$role.service"
	"$gambi" service openwrt --for "$role" -- "${args[@]}" >"$out/$name/services/gambi-$role.init"
	"$gambi" service launchd --for "$role" -- "${args[@]}" >"$out/$name/services/gambi.$role.plist"
done
# Nothing of when, where or by whom it was packed.
tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=u+rwX,go+rX,go-w -C "$out" -cf - "$name" |
	gzip -n9 >"$out/$name.tar.gz"
rm -r "${out:?}/$name"
(cd "$out" && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")
echo "$out/$name.tar.gz"
