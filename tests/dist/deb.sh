#!/usr/bin/env bash
# Installs, upgrades, removes and purges the Debian package in a minimal Debian below WORK_DIR. Needs root and debootstrap.
# Usage: deb.sh PACKAGE WORK_DIR
# What is in single quotes is for the shells within.
# shellcheck disable=SC2016,SC1091
set -euo pipefail
package=$(realpath "$1")
mkdir -p "$2"
work=$(realpath "$2")
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
mirror=$(apt-get indextargets --format "\$(CODENAME) \$(REPO_URI)" | sed -n "s/^$release \(.*debian\/*\)$/\1/p" | sort -u | head -n 1)
root=$work/root

fail() { echo "FAILED: $*" >&2 && exit 1; }
inside() { LC_ALL=C DEBIAN_FRONTEND=noninteractive chroot "$root" "$@"; }
# expect WORDS COMMAND...: what the command prints has these words.
expect() {
	local words=$1 said
	shift
	said=$(inside "$@" 2>&1) || fail "$*: $said"
	grep -qF -- "$words" <<<"$said" || fail "$*: no \"$words\" in: $said"
	echo "ok: $*: $words"
}
# Every file but those that dpkg, adduser, the shells' completions and caches keep for themselves.
files() { (cd "$root" && find . -path ./proc -prune -o -path ./run -prune -o -path ./root -prune -o -path ./var/lib/dpkg -prune -o -path ./var/cache -prune -o \
	-path ./var/log -prune -o ! -name '*-' -print | sort); }
accounts() { cat "$root/etc/passwd" "$root/etc/group" "$root/etc/shadow"; }

if [ ! -e "$work/base/done" ]; then
	rm -rf "$work/base"
	debootstrap --variant=minbase --include=man-db,systemd,bash-completion,zsh,fish "$release" "$work/base" \
		"${mirror:-http://deb.debian.org/debian}" >"$work/debootstrap.log" || fail "debootstrap: see $work/debootstrap.log"
	touch "$work/base/done"
fi
rm -rf "$root"
cp -a "$work/base" "$root"
trap 'rm -rf "$root"' EXIT
cp "$package" "$root/tmp/gambi.deb"
files >"$work/files.before"
accounts >"$work/accounts.before"

inside dpkg -i /tmp/gambi.deb
expect "$(dpkg-deb -f "$package" Version)" gambi --version
expect gambi man --pager=cat gambi
expect "uid=" id gambi
expect "700 gambi" stat -c "%a %U" /var/lib/gambi
expect "750 gambi" stat -c "%a %G" /etc/gambi
expect serve bash -c '. /usr/share/bash-completion/bash_completion; _completion_loader gambi; COMP_WORDS=(gambi hub ""); COMP_CWORD=2
	COMP_LINE="gambi hub "; COMP_POINT=10; "$(complete -p gambi | sed "s/.*-F \([^ ]*\).*/\1/")"; echo "${COMPREPLY[@]}"'
expect serve fish -c 'complete -C "gambi hub "'
expect _gambi zsh -c 'autoload -Uz compinit && compinit -u && print -r -- $_comps[gambi]'
for role in hub participant; do
	unit=/lib/systemd/system/gambi-$role.service
	if said=$(inside systemd-analyze verify --man=no "$unit" 2>&1) && ! grep -q "$unit" <<<"$said"; then
		echo "ok: systemd-analyze verify $unit"
	else
		fail "$said"
	fi
	[ "$(inside systemctl is-enabled "gambi-$role" || true)" = disabled ] || fail "gambi-$role is enabled from the start"
done
# As the service runs it, by the account.
expect "GAMBI_HUB_ARGS" cat /etc/default/gambi-hub
expect '"completed"' env HOME=/var/lib/gambi setpriv --reuid gambi --regid gambi --clear-groups gambi demo --once --format json

echo 'GAMBI_HUB_ARGS="--mdns"' >"$root/etc/default/gambi-hub"
inside systemctl --quiet enable gambi-hub
inside dpkg -i /tmp/gambi.deb
expect mdns cat /etc/default/gambi-hub
expect enabled systemctl is-enabled gambi-hub
inside dpkg -r gambi
expect mdns cat /etc/default/gambi-hub
touch "$root/var/lib/gambi/state"
inside dpkg -i /tmp/gambi.deb
inside dpkg -P gambi
diff "$work/files.before" <(files) || fail "files differ after purging"
diff "$work/accounts.before" <(accounts) || fail "accounts differ after purging"
echo "ok: nothing is left"
