#!/usr/bin/env bash
# Runs a command that builds gambi, twice: so that the program counts what it does, and, once the benchmark's load has been served by
# that one, with what was counted (profile-guided optimization). BINARY is where the command puts it below CARGO_TARGET_DIR.
# Usage: [CARGO_TARGET_DIR=target] pgo.sh BINARY COMMAND...
set -euo pipefail
cd "$(dirname "$0")/../.."
binary=$1
shift
into=${CARGO_TARGET_DIR:-target}
flags=${RUSTFLAGS:-}
counts=$PWD/$into/counting/counts
profile=$PWD/$into/counting/gambi.profdata
# The tool must be of the compiler's own version of LLVM.
merge=$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin/llvm-profdata
[ -x "$merge" ] || rustup component add llvm-tools || { echo "PGO=1 needs rustup's component llvm-tools." >&2 && exit 1; }

CARGO_TARGET_DIR=$into/counting RUSTFLAGS="$flags -C profile-generate=$counts" "$@"
"$into/counting/$binary" --version >/dev/null 2>&1 || { echo "PGO=1 needs a binary that runs on this machine." >&2 && exit 1; }
# The compiler's own plugins have counted, too.
rm -rf "$counts"
env -u CARGO_TARGET_DIR -u RUSTFLAGS LLVM_PROFILE_FILE="$counts/%m-%p.profraw" \
	"${CARGO:-cargo}" test --quiet --profile load --test bench -- train "$into/counting/$binary"
"$merge" merge -o "$profile" "$counts"
CARGO_TARGET_DIR=$into RUSTFLAGS="$flags -C profile-use=$profile" "$@"
