#!/usr/bin/env bash
# Slow clients by slowhttptest, in its four modes, while real chats go on. Usage: slow.sh GAMBI SECONDS [tls]. With
# `tls` all of it is over TLS. Needs curl, jq.
set -euo pipefail
gambi=$1 seconds=$2 kind=${3:-plain}
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
until_there() { for _ in $(seq 200); do grep -q "$2" "$1" 2>/dev/null && return; sleep 0.1; done; echo "waited in vain for $2" >&2; exit 1; }

tls=()
if [ "$kind" = tls ]; then tls=(--tls self --tls-key "$work/hub.pem"); fi
"$gambi" hub serve --host 127.0.0.1 --port 0 "${tls[@]}" --room LAB001=Lab --max-connections 1100 --log-level warn --format ndjson > "$work/hub" &
hub_pid=$!
until_there "$work/hub" started
hub=$(head -1 "$work/hub" | jq -r .data.hubUrl)
fingerprint=$(head -1 "$work/hub" | jq -r '.data.fingerprint // empty')
if [ -n "$fingerprint" ]; then export GAMBI_HUB_FINGERPRINT=$fingerprint; fi
"$gambi" provider --port 0 --format ndjson > "$work/provider" &
until_there "$work/provider" started
"$gambi" participant join --hub "$hub" --room LAB001 --participant-id echo-1 --model echo --no-specs \
  --endpoint "$(head -1 "$work/provider" | jq -r .data.url)" --format ndjson > "$work/join" &
until_there "$work/join" tunnel_connected

field() { awk -v name="$1:" '$1 == name { print $2 }' "/proc/$hub_pid/status"; }
# A chat every 50 ms, until told to stop; the number of those that failed, and of all.
chats() {
  local all=0 failed=0
  while [ ! -e "$work/stop" ]; do
    all=$((all + 1))
    curl -skf -m 10 "$hub/rooms/LAB001/v1/chat/completions" -H 'Content-Type: application/json' \
      -d '{"model": "echo-1", "messages": [{"role": "user", "content": "Hi"}]}' > /dev/null || failed=$((failed + 1))
    sleep 0.05
  done
  echo "$failed $all" > "$work/chats"
}

for mode in "-H slow-headers" "-B slow-body" "-X slow-read" "-R range"; do
  rm -f "$work/stop"
  before="$(field VmRSS) KiB, $(field Threads) threads"
  chats &
  talking=$!
  # A thousand connections, made as fast as they can be; each mode's own trickle.
  slowhttptest -c 1000 ${mode% *} -r 500 -i 2 -l "$seconds" -p 3 -w 10 -y 20 -n 1 -z 32 -k 3 -s 8192 -t POST \
    -u "$hub/v1/rooms" > "$work/slow" 2>&1 || true
  peak="$(field VmRSS) KiB, $(field Threads) threads"
  touch "$work/stop"
  wait "$talking"
  read -r failed all < "$work/chats"
  for _ in $(seq 300); do [ "$(field Threads)" -le 12 ] && break; sleep 0.1; done
  echo "slowhttptest ${mode#* }, $kind: others asked $all, lost $failed; before $before; at its end $peak; after $(field VmRSS) KiB, $(field Threads) threads"
  if [ "$failed" -ne 0 ] || [ "$all" -eq 0 ] || [ "$(field Threads)" -gt 12 ]; then
    echo "it did not hold" >&2
    exit 1
  fi
done
