#!/usr/bin/env bash
# A static binary where there is nothing else: in an empty root, and with 128 MB of address space.
# Usage: static.sh BINARY. The empty root needs the right to chroot.
set -euo pipefail
bin=$(realpath "$1")
dir=$(mktemp -d)
pids=()
finish() {
	for pid in "${pids[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
	rm -rf "$dir"
}
trap finish EXIT

fail() {
	echo "FAILED: $*" >&2
	for log in "$dir"/*.log; do echo "--- $log" >&2 && tail -n 20 "$log" >&2; done
	exit 1
}

# wait_for PATTERN FILE: until a line is there, at most 20 s.
wait_for() {
	for _ in $(seq 200); do
		grep -q "$1" "$2" 2>/dev/null && return
		sleep 0.1
	done
	fail "no $1 in $2"
}

# field NAME FILE: the first value of that name in a file of JSON.
field() {
	grep -o "\"$1\": *\"[^\"]*\"" "$2" | head -n 1 | cut -d '"' -f 4
}

# session NAME COMMAND...: hub, provider, participant and a chat, each run by COMMAND, which becomes gambi.
session() {
	local name=$1 log=$dir/$1 hub room
	shift
	"$@" hub serve --host 127.0.0.1 --port 0 --format ndjson >"$log-hub.log" 2>&1 &
	pids+=($!)
	local hub_pid=$!
	"$@" provider --port 0 --format ndjson >"$log-provider.log" 2>&1 &
	pids+=($!)
	wait_for '"started"' "$log-hub.log"
	wait_for '"started"' "$log-provider.log"
	# By name: looking up `localhost` must work without the C library's modules.
	hub=http://localhost:$(grep -o '"port":[0-9]*' "$log-hub.log" | head -n 1 | cut -d : -f 2)
	local provider
	provider=http://localhost:$(grep -o '127.0.0.1:[0-9]*' "$log-provider.log" | head -n 1 | cut -d : -f 2)
	# The password makes the hub hash with argon2id, in 64 MiB.
	("$@" room create --hub "$hub" --name Empty --password pw --format json) >"$log-room.log" 2>&1 || fail "room create"
	room=$(field code "$log-room.log")
	"$@" participant join --hub "$hub" --room "$room" --password pw --participant-id echo-1 --model echo \
		--endpoint "$provider" --format ndjson >"$log-join.log" 2>&1 &
	pids+=($!)
	wait_for tunnel_connected "$log-join.log"
	("$@" chat --hub "$hub" --room "$room" --format text "static and alone") >"$log-chat.log" 2>&1 || fail "chat"
	grep -q "static and alone" "$log-chat.log" || fail "the chat's answer"
	kill -TERM "$hub_pid"
	wait_for '"stopped"' "$log-hub.log"
	wait "$hub_pid" || fail "the hub's exit code"
	echo "ok: $name"
}

file "$bin" | grep -Eq 'statically linked|static-pie linked' || fail "$(file "$bin")"
echo "ok: $(file -b "$bin" | grep -Eo 'statically linked|static-pie linked'), $(stat -c %s "$bin") bytes"

limited() { ulimit -v 131072 && exec "$bin" "$@"; }
session "128 MB of address space" limited

if [ "$(id -u)" = 0 ]; then
	mkdir "$dir/root"
	cp "$bin" "$dir/root/gambi"
	alone() { exec chroot "$dir/root" /gambi "$@"; }
	session "an empty root" alone
elif [ "${CI:-}" = true ]; then
	fail "the empty root needs root"
else
	echo "SKIPPED: an empty root needs root"
fi
