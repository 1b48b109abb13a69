#!/usr/bin/env bash
# Builds the static binary for a target, or with --target says which one suits this machine best.
# Usage: CARGO_TARGET_DIR=target/static [FEATURES=tui] build.sh TARGET | build.sh --target
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo=${CARGO:-cargo}
machine=$(uname -m)

sysroot=$(command -v rustc >/dev/null && rustc --print sysroot || true)

installed() {
	[ -d "$sysroot/lib/rustlib/$1/lib" ]
}

# Whether a profile is counted or used. What counts is not in the standard library's source, and a profile is of the library that it was
# taken with.
counted() {
	[[ ${RUSTFLAGS:-} = *profile-* || ${RUSTFLAGS:-} = *instrument-coverage* ]]
}

if [ "$1" = --target ]; then
	musl=$machine-unknown-linux-musl
	if command -v rustc >/dev/null && command -v musl-gcc >/dev/null && installed "$musl"; then
		echo "$musl"
	else
		echo "$machine-unknown-linux-gnu"
	fi
	exit
fi

target=$1
flags="-C target-feature=+crt-static -C symbol-mangling-version=v0"
if ! installed "$target"; then
	rustup target add "$target" || { echo "Rust's target $target is not here, and rustup could not add it." >&2 && exit 1; }
fi
# ring has C and assembly in it, so the target needs a C compiler; Debian's cross compilers do, as nothing of theirs
# but the code that they make gets in.
case $target in
"$machine"-*-musl) cc="musl-gcc" ;;
"$machine"-*) cc=cc ;;
aarch64-*) cc=aarch64-linux-gnu-gcc ;;
armv7-*hf) cc=arm-linux-gnueabihf-gcc ;;
i686-*) cc="i686-linux-gnu-gcc" ;;
*) cc=${CC:?"name a C compiler for $target as CC"} ;;
esac
cc=${CC:-$cc}
command -v "$cc" >/dev/null || { echo "$target needs the C compiler $cc (Debian: musl-tools, gcc-aarch64-linux-gnu, ...)." >&2 && exit 1; }
under=${target//-/_}
export "CC_$under=$cc"
# getrandom looks the C library's function up at run time by default, which a static glibc can't do where there are no libraries.
flags="$flags --cfg getrandom_backend=\"linux_getrandom\""
# Relative relocations packed: each takes 24 bytes otherwise.
case $target in *-musl) flags="$flags -C link-arg=-Wl,-z,pack-relative-relocs" ;; esac
# Tables for unwinding are a fifth smaller with frame pointers, and the code is no larger.
case $target in x86_64-*) flags="$flags -C force-frame-pointers=yes" ;; esac
case $target in "$machine"-*) ;; *) export "CARGO_TARGET_$(echo "$under" | tr "[:lower:]" "[:upper:]")_LINKER=$cc" ;; esac
link=()
# The same code is kept once, where Rust brought its own linker: Debian's can't do that.
host=$(rustc -vV | sed -n 's/^host: //p')
lld=$sysroot/lib/rustlib/$host/bin/gcc-ld
if [ -x "$lld/ld.lld" ]; then
	flags="$flags -C link-arg=-B$lld -C link-arg=-fuse-ld=lld -C link-arg=-Wl,--icf=all,--ignore-data-address-equality"
	link=(-C "link-arg=-Wl,-T,tests/dist/startup.ld")
fi
# The paths of this machine's crates are left out: they tell of the machine, and take 8 KB.
for crates in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/; do
	flags="$flags --remap-path-prefix=$crates="
done
flags="$flags --remap-path-prefix=$sysroot/lib/rustlib/src/rust/="
# For size (tests/bench/README.md).
export CARGO_PROFILE_RELEASE_OPT_LEVEL=${OPT_LEVEL:-s}
# The standard library is compiled, too, where its source and what it depends on can be had: for size, without what reads debug
# information, which the binary does not have. Then the last pass, and the command line, take the smallest code, but calls are
# inlined as before: only that is what a hub would notice. BUILD_STD=no leaves it out.
standard=()
if [ "${BUILD_STD:-yes}" != no ] && [[ $CARGO_PROFILE_RELEASE_OPT_LEVEL = [sz] ]] && ! counted; then
	[ -d "$sysroot/lib/rustlib/src/rust" ] || rustup --quiet component add rust-src || true
	standard=(-Z build-std=std,panic_unwind)
	# Cargo demands it for this option of a stable compiler. Crates that look for it use what is not stable, too: `BUILD_STD=no` is
	# for a compiler where that fails.
	if RUSTC_BOOTSTRAP=1 "$cargo" fetch --quiet "${standard[@]}" --target "$target" 2>/dev/null; then
		export RUSTC_BOOTSTRAP=1
		standard+=(-Z build-std-features=optimize_for_size)
		link+=(-C opt-level=z -C llvm-args=-inline-threshold=50)
	else
		standard=()
		echo "The binary gets Rust's own standard library, and is a tenth larger: the source of it (rustup component add rust-src) or a crate that it needs could not be had." >&2
	fi
fi
RUSTFLAGS="$flags ${RUSTFLAGS:-}" "$cargo" rustc --release --bin gambi ${standard[@]+"${standard[@]}"} ${FEATURES:+--features "$FEATURES"} \
	--target "$target" -- ${link[@]+"${link[@]}"}
