#!/usr/bin/env bash
# A real model server in a room. Usage: real_model.sh GAMBI PYTHON, where PYTHON has llama-cpp-python[server], gguf and
# openai. Everything it starts ends with it.
set -euo pipefail
gambi=$1 python=$2
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT

until_there() { for _ in $(seq 600); do grep -q "$2" "$1" 2>/dev/null && return; sleep 0.1; done; echo "waited in vain for $2" >&2; cat "$1" >&2; exit 1; }
field() { "$python" -c 'import json, sys; print(json.loads(open(sys.argv[1]).readline())["data"][sys.argv[2]])' "$1" "$2"; }

"$python" "$here/tiny_model.py" "$work/tiny.gguf"
port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$python" -m llama_cpp.server --model "$work/tiny.gguf" --model_alias tiny --host 127.0.0.1 --port "$port" 2> "$work/server" > /dev/null &
"$gambi" hub serve --host 127.0.0.1 --port 0 --room MODELS=Models --format ndjson > "$work/hub" &
until_there "$work/hub" started
until_there "$work/server" "Uvicorn running"
GAMBI_HUB=$(field "$work/hub" hubUrl)
export GAMBI_HUB
"$gambi" participant join --room MODELS --participant-id tiny-1 --model tiny --endpoint "http://127.0.0.1:$port" --no-specs --format ndjson > "$work/join" &
until_there "$work/join" tunnel_connected
"$python" "$here/real_model.py" "$GAMBI_HUB/rooms/MODELS/v1"
