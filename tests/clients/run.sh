#!/usr/bin/env bash
# Clients that others wrote against one room with two participants: one with Responses of its own, one that only chats.
# Usage: run.sh GAMBI PYTHON NODE_DIRECTORY. Everything it starts ends with it.
set -euo pipefail
gambi=$1 python=$2 node_dir=$3
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT

until_there() { for _ in $(seq 300); do grep -q "$2" "$1" 2>/dev/null && return; sleep 0.1; done; echo "waited in vain for $2" >&2; cat "$1" >&2; exit 1; }
field() { "$python" -c 'import json, sys; print(json.loads(open(sys.argv[1]).readline())["data"][sys.argv[2]])' "$1" "$2"; }

"$gambi" hub serve --host 127.0.0.1 --port 0 --format ndjson > "$work/hub" &
"$gambi" provider --port 0 --format ndjson > "$work/native" &
"$python" "$here/provider.py" > "$work/chat" &
until_there "$work/hub" started
until_there "$work/native" started
until_there "$work/chat" http
GAMBI_HUB=$(field "$work/hub" hubUrl)
export GAMBI_HUB
room=$("$gambi" room create --name Clients --format json | "$python" -c 'import json, sys; print(json.load(sys.stdin)["data"]["room"]["code"])')
join() { "$gambi" participant join --room "$room" --participant-id "$1" --model "$2" --endpoint "$3" --no-specs --format ndjson > "$work/join-$1" & }
join native echo "$(field "$work/native" url)"
join chat-only chat-only "$(cat "$work/chat")"
until_there "$work/join-native" tunnel_connected
until_there "$work/join-chat-only" tunnel_connected

base="$GAMBI_HUB/rooms/$room/v1"
"$python" "$here/clients.py" "$base" native chat-only
# Packages are looked up from where the script stands.
cp "$here/clients.mjs" "$node_dir/"
node "$node_dir/clients.mjs" "$base" native chat-only
