#!/bin/sh
# Packs a binary for Debian, the same bytes each time. Needs dpkg-dev and binutils.
# Usage: pack_deb.sh BINARY OUTPUT_DIR [GAMBI]. GAMBI prints the texts, where BINARY is for another machine.
set -eu
bin=$(realpath "$1")
gambi=$(realpath "${3:-$1}")
mkdir -p "$2"
out=$(realpath "$2")
cd "$(dirname "$0")/../.."
files=$PWD/tests/dist/deb
umask 022
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
maintainer=${DEB_MAINTAINER:-"gambi <gambi@localhost.localdomain>"}
# All times in the package: those of the last commit, or of 1980 where there is no checkout.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 315532800)}
export SOURCE_DATE_EPOCH LC_ALL=C

case $(readelf -h "$bin" | sed -n 's/ *Machine: *//p') in
*X86-64) arch=amd64 ;;
AArch64) arch=arm64 ;;
ARM) arch=armhf ;;
*) echo "$bin: no Debian architecture is known for this machine" >&2 && exit 1 ;;
esac

root=$(mktemp -d)
chmod 755 "$root"
trap 'rm -rf "$root"' EXIT
doc=$root/usr/share/doc/gambi
units=$root/lib/systemd/system
mkdir -p "$root/DEBIAN" "$units"
install -D -m 755 "$bin" "$root/usr/bin/gambi"
install -D -m 644 README.md "$doc/README.md"
install -D -m 644 "$files/copyright" "$doc/copyright"
{
	printf 'gambi (%s) unstable; urgency=medium\n\n  * Version %s.\n\n' "$version" "$version"
	printf ' -- %s  %s\n' "$maintainer" "$(date -u -R -d "@$SOURCE_DATE_EPOCH")"
} | gzip -n9 >"$doc/changelog.gz"
mkdir -p "$root/usr/share/man/man1"
"$gambi" man | gzip -n9 >"$root/usr/share/man/man1/gambi.1.gz"
completion() { mkdir -p "$(dirname "$root/usr/share/$2")" && "$gambi" completions "$1" >"$root/usr/share/$2"; }
completion bash bash-completion/completions/gambi
completion zsh zsh/vendor-completions/_gambi
completion fish fish/vendor_completions.d/gambi.fish

# unit ROLE ARGUMENTS...: the unit of `gambi service`, with the package's account and arguments from /etc/default.
unit() {
	role=$1 variable=GAMBI_$(echo "$1" | tr '[:lower:]' '[:upper:]')_ARGS
	shift
	"$gambi" service systemd --for "$role" --bin /usr/bin/gambi -- "$@" | sed \
		-e '1s|.*|# Arguments are in /etc/default/gambi-'"$role"', secrets in /etc/gambi/'"$role"'.env.|' \
		-e 's|^\(ExecStart=/usr/bin/gambi [a-z]* [a-z]*\) .*|\1 $'"$variable"'|' \
		-e 's|^EnvironmentFile=|EnvironmentFile=-/etc/default/gambi-'"$role"'\n&|' \
		-e 's|^DynamicUser=yes|User=gambi\nStateDirectory=gambi\nStateDirectoryMode=0700\nEnvironment=XDG_STATE_HOME=%S|' \
		-e 's/^Description=.*/&\nDocumentation=man:gambi(1)/' >"$units/gambi-$role.service"
	install -D -m 644 "$files/$role.default" "$root/etc/default/gambi-$role"
}
unit hub --port 3000
unit participant --hub http://hub:3000 --room LAB001 --participant-id my-machine --model llama3

# What the binary needs, told by Debian's own tool, which wants a source package around it. Nothing if it is static.
mkdir "$root/source" "$root/source/debian"
printf 'Source: gambi\n\nPackage: gambi\nArchitecture: any\n' >"$root/source/debian/control"
depends=adduser
if readelf -d "$bin" | grep -q NEEDED; then
	depends="$depends, $(cd "$root/source" && dpkg-shlibdeps -O "$bin" 2>/dev/null | sed -n 's/^shlibs:Depends=//p')"
fi
rm -r "$root/source"

sed -e "s|@VERSION@|$version|" -e "s|@ARCH@|$arch|" -e "s|@MAINTAINER@|$maintainer|" -e "s|@DEPENDS@|$depends|" \
	-e "s|@SIZE@|$(du -k --apparent-size -s "$root" | cut -f 1)|" "$files/control" >"$root/DEBIAN/control"
install -m 755 "$files/postinst" "$files/prerm" "$files/postrm" "$root/DEBIAN/"
(cd "$root" && find etc -type f | sort | sed 's|^|/|' >DEBIAN/conffiles)
(cd "$root" && find lib usr -type f -print0 | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
dpkg-deb --root-owner-group --threads-max=1 -Zxz --build "$root" "$out/gambi_${version}_$arch.deb" >/dev/null
echo "$out/gambi_${version}_$arch.deb"
