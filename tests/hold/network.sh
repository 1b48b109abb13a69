#!/usr/bin/env bash
# The network between hub and participant, in two namespaces of this script's own: slowed, reordered, lossy, and cut
# without a reset, so that only the timeouts can tell. Usage: network.sh GAMBI. Needs root, iproute2, curl, jq, python3.
set -euo pipefail
gambi=$1
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
h=gambi-hub-$$ p=gambi-part-$$
finish() {
  # Those in the namespaces are nobody's jobs: a function ran them.
  for name in "$h" "$p"; do ip netns pids "$name" 2>/dev/null | xargs -r kill 2>/dev/null || true; done
  kill $(jobs -p) 2>/dev/null || true
  wait 2>/dev/null || true
  for name in "$h" "$p"; do ip netns del "$name" 2>/dev/null || true; done
  rm -rf "$work"
}
trap finish EXIT
until_there() { for _ in $(seq "${3:-400}"); do grep -q "$2" "$1" 2>/dev/null && return; sleep 0.1; done; echo "waited in vain for $2 in $1" >&2; tail -5 "$1" >&2; exit 1; }
say() { echo "ok   $1"; }

ip netns add "$h"
ip netns add "$p"
ip -n "$h" link set lo up
ip -n "$p" link set lo up
echo > "$work/faults"
python3 "$here/link.py" "$h" 10.78.0.1 "$p" 10.78.0.2 "$work/faults" > "$work/link" &
until_there "$work/link" up

at_hub() { ip netns exec "$h" "$@"; }
at_participant() { ip netns exec "$p" "$@"; }
hub=http://10.78.0.1:3000
status() { at_hub curl -s "$hub/v1/rooms/LAB001/participants" | jq -r '.data[0].status'; }
chat() {
  at_hub curl -s -m "${1:-60}" -o "$work/answer" -w '%{http_code}' "$hub/rooms/LAB001/v1/chat/completions" \
    -H 'Content-Type: application/json' -d '{"model": "any", "stream": true, "messages": [{"role": "user", "content": "Over the wire"}]}'
}
network() { echo "$1" > "$work/faults"; }
seconds_since() { echo $(($(date +%s) - $1)); }

at_hub "$gambi" hub serve --port 3000 --room LAB001=Lab --log-level warn --format ndjson > "$work/hub" &
until_there "$work/hub" started
at_participant "$gambi" provider --format ndjson > "$work/provider" &
until_there "$work/provider" started
at_participant "$gambi" participant join --hub "$hub" --room LAB001 --participant-id ann --model echo --no-specs \
  --endpoint http://localhost:11435 --reconnect --format ndjson > "$work/join" &
until_there "$work/join" tunnel_connected
at_hub "$gambi" events watch --hub "$hub" --room LAB001 --format ndjson > "$work/events" &
until_there "$work/events" connected
test "$(chat)" = 200
say "over a sound network: 200"

for kind in "delay=0.15 jitter=0.05" "delay=0.02 reorder=0.25" "loss=0.1" "rate=32000 delay=0.01"; do
  network "$kind"
  for _ in 1 2 3; do
    test "$(chat)" = 200
    grep -q Over "$work/answer" && grep -q DONE "$work/answer"
  done
  test "$(status)" = online
  network ""
  say "with $kind: three streams, whole"
done

network "cut=1"
since=$(date +%s)
until_there "$work/events" participant.offline 450
took=$(seconds_since "$since")
test "$took" -le 40
say "cut without a reset: the hub has it offline after $took s"
test "$(chat)" = 404
until_there "$work/join" '"waiting"' 450
say "the participant noticed after $(seconds_since "$since") s"
network ""
since=$(date +%s)
for _ in $(seq 300); do [ "$(status)" = online ] && break; sleep 0.1; done
test "$(status)" = online
say "mended: back after $(seconds_since "$since") s"
test "$(chat)" = 200
say "and it answers"

# A hub with a key of its own, of which the other machine knows no more than one line.
tls_hub() {
  at_hub "$gambi" hub serve --port 3001 --room LAB002=Lab --tls self --tls-key "$work/hub.pem" --log-level warn --format ndjson > "$work/tls-hub" &
  tls_job=$!
  until_there "$work/tls-hub" started
  fingerprint=$(jq -r .data.fingerprint "$work/tls-hub" | head -n 1)
}
tls_hub
invitation=$(at_hub "$gambi" room invite LAB002 --hub https://10.78.0.1:3001 --hub-fingerprint "$fingerprint" --format json | jq -r .data.invitation)
at_participant "$gambi" participant join "$invitation" --no-specs --endpoint http://localhost:11435 --format ndjson > "$work/invited" &
until_there "$work/invited" tunnel_connected
network "delay=0.02 loss=0.05"
at_participant "$gambi" chat "$invitation" "Over the wire" --format text | grep -q "Over the wire"
say "with an invitation: joined and answered over TLS"

# Another key in its place, as of someone who poses as the hub.
network ""
invited=$fingerprint
# A function ran it, so its job is a shell: the hub is that one's child.
pgrep -P "$tls_job" | xargs -r kill -INT
wait "$tls_job" || true
rm "$work/hub.pem" "$work/tls-hub"
tls_hub
test "$fingerprint" != "$invited"
if at_participant "$gambi" chat "$invitation" "Over the wire" --format text > "$work/refused" 2>&1; then exit 1; fi
grep -q "$invited" "$work/refused" && grep -q "$fingerprint" "$work/refused" || { cat "$work/refused" >&2; exit 1; }
say "after the hub's key was exchanged: refused, with both fingerprints"
