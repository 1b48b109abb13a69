#!/usr/bin/env bash
# Clients that others wrote against one room with two participants: one with Responses of its own, one that only chats. Then
# those of Ollama against another room, with one participant whose provider is Ollama, and one that only chats.
# Usage: run.sh GAMBI PYTHON NODE_DIRECTORY. Everything it starts ends with it.
set -euo pipefail
gambi=$1 python=$2 node_dir=$3
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT

until_there() { for _ in $(seq 300); do grep -q "$2" "$1" 2>/dev/null && return; sleep 0.1; done; echo "waited in vain for $2" >&2; cat "$1" >&2; exit 1; }
field() { "$python" -c 'import json, sys; print(json.loads(open(sys.argv[1]).readline())["data"][sys.argv[2]])' "$1" "$2"; }

"$gambi" hub serve --host 127.0.0.1 --port 0 --room CLIENT=Clients --room OLLAMA=Ollama --default-room OLLAMA --format ndjson > "$work/hub" &
"$gambi" provider --port 0 --format ndjson > "$work/native" &
"$python" "$here/provider.py" > "$work/chat" &
"$python" "$here/ollama_provider.py" > "$work/ollama" &
until_there "$work/hub" started
until_there "$work/native" started
until_there "$work/chat" http
until_there "$work/ollama" http
GAMBI_HUB=$(field "$work/hub" hubUrl)
export GAMBI_HUB
join() { "$gambi" participant join --room "$1" --participant-id "$2" --model "$3" --endpoint "$4" --no-specs --format ndjson > "$work/join-$1-$2" & }
join CLIENT native echo "$(field "$work/native" url)"
join CLIENT chat-only chat-only "$(cat "$work/chat")"
join OLLAMA ollama small "$(cat "$work/ollama")"
join OLLAMA plain chat-only "$(cat "$work/chat")"
for joined in CLIENT-native CLIENT-chat-only OLLAMA-ollama OLLAMA-plain; do until_there "$work/join-$joined" tunnel_connected; done

base="$GAMBI_HUB/rooms/CLIENT/v1"
"$python" "$here/clients.py" "$base" native chat-only
# Packages are looked up from where the script stands.
cp "$here"/*.mjs "$node_dir/"
node "$node_dir/clients.mjs" "$base" native chat-only

# A server with the room's path, and one without a path.
"$python" "$here/ollama_clients.py" "$GAMBI_HUB/rooms/OLLAMA" "$GAMBI_HUB"
node "$node_dir/ollama_clients.mjs" "$GAMBI_HUB/rooms/OLLAMA" "$GAMBI_HUB"
