#!/usr/bin/env bash
# mDNS with others' implementations, in two network namespaces joined by two cables. Usage: interop.sh GAMBI PYTHON, where
# PYTHON has zeroconf. Needs root, iproute2, avahi-daemon, avahi-utils and dbus. What it starts and makes ends with it.
set -euo pipefail
gambi=$1 python=$2
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
a=gambi-a-$$ b=gambi-b-$$
trap 'kill $(jobs -p) 2>/dev/null || true; wait 2>/dev/null || true; ip netns del $a 2>/dev/null || true; ip netns del $b 2>/dev/null || true; rm -rf "$work"' EXIT

until_there() { for _ in $(seq 200); do grep -q "$2" "$1" 2>/dev/null && return; sleep 0.1; done; echo "waited in vain for $2" >&2; cat "$1" >&2; exit 1; }
say() { echo "ok   $1"; }

ip netns add "$a"
ip netns add "$b"
ip -n "$a" link set lo up
ip -n "$b" link set lo up
for n in 0 1; do
  ip link add "a$n" netns "$a" type veth peer name "b$n" netns "$b"
  ip -n "$a" addr add "10.77.$n.1/24" dev "a$n"
  ip -n "$b" addr add "10.77.$n.2/24" dev "b$n"
  ip -n "$a" link set "a$n" up
  ip -n "$b" link set "b$n" up
done

# Ours, on two interfaces, as others see it.
ip netns exec "$a" "$gambi" hub serve --port 3000 --mdns --room LAB001=Lab --format ndjson > "$work/hub" &
hub=$!
until_there "$work/hub" mdns_registered
ip netns exec "$b" "$python" "$here/one_shot.py" 10.77.0.2 gambi-hub-3000
say "clients that ask once, each just after another one was answered, are answered"
ip netns exec "$b" "$python" "$here/others.py" browse > "$work/zeroconf" &
until_there "$work/zeroconf" "found gambi-hub-3000._gambi._tcp.local. 10.77.0.1 3000 http 1.0"
say "python-zeroconf sees the hub"
ip netns exec "$b" "$python" "$here/flood.py" 10.77.0.2 10.77.0.1 gambi-hub-3000
ip netns exec "$b" "$gambi" discover --timeout 3s --format ndjson > "$work/found"
grep -q '"name":"gambi-hub-3000".*LAB001' "$work/found" || { cat "$work/found"; exit 1; }
if grep -q "gone gambi-hub-3000" "$work/zeroconf"; then cat "$work/zeroconf"; exit 1; fi
say "a hub that was sent too many records announces itself anew, and never says goodbye"

export DBUS_SYSTEM_BUS_ADDRESS="unix:path=$work/bus"
cat > "$work/bus.conf" <<CONF
<busconfig><type>session</type><listen>$DBUS_SYSTEM_BUS_ADDRESS</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>
CONF
dbus-daemon --config-file="$work/bus.conf" --nofork &
for _ in $(seq 100); do test -S "$work/bus" && break; sleep 0.1; done
ip netns exec "$b" avahi-daemon --no-drop-root --no-chroot --no-rlimits --file=/dev/null > "$work/avahi-daemon" 2>&1 &
until_there "$work/avahi-daemon" "Server startup complete"
ip netns exec "$b" timeout 15 avahi-browse --resolve --parsable _gambi._tcp > "$work/avahi" &
until_there "$work/avahi" '^=;b0;IPv4;gambi-hub-3000;.*;10.77.0.1;3000;'
until_there "$work/avahi" '^=;b1;IPv4;gambi-hub-3000;.*;10.77.1.1;3000;'
grep -q '"version=1.0"' "$work/avahi" && grep -q '"protocol=http"' "$work/avahi"
say "avahi-browse sees the hub, on both interfaces"

# Others' hubs as we see them, and ours; its goodbye too.
ip netns exec "$b" "$python" "$here/others.py" announce 3000 > "$work/announced" &
ip netns exec "$b" "$gambi" hub serve --port 3000 --room SHOP01=Shop --format ndjson > "$work/other" &
until_there "$work/announced" announced
until_there "$work/other" started
ip netns exec "$a" "$gambi" discover --timeout 3s --format ndjson > "$work/found"
grep -q '"name":"other-hub".*SHOP01' "$work/found" || { cat "$work/found"; exit 1; }
say "a hub that python-zeroconf announces is found, with its rooms"
ip netns exec "$b" "$gambi" discover --timeout 3s --format ndjson > "$work/found"
grep -q '"name":"gambi-hub-3000".*LAB001' "$work/found" || { cat "$work/found"; exit 1; }
test "$(ip netns exec "$b" "$gambi" room get --hub auto --code LAB001 --format ndjson | grep -c '"name":"Lab"')" = 1
say "--hub auto finds the hub that has the room"
echo k3y-of-this-hub > "$work/key"
ip netns exec "$b" "$gambi" hub serve --port 3001 --mdns --key-file "$work/key" --room KEY001=Keyed --format ndjson > "$work/keyed" &
keyed=$!
until_there "$work/keyed" mdns_registered
ip netns exec "$a" "$gambi" discover --timeout 3s --format text > "$work/found"
grep -q '10.77.*-.*--key-file' "$work/found" || { cat "$work/found"; exit 1; }
ip netns exec "$a" "$gambi" discover --timeout 3s --key-file "$work/key" --format text > "$work/found"
grep -q 'KEY001.*Keyed' "$work/found" || { cat "$work/found"; exit 1; }
ip netns exec "$a" "$gambi" room get --hub auto --code KEY001 --key-file "$work/key" --format ndjson | grep -q '"name":"Keyed"'
status=0
ip netns exec "$a" "$gambi" room get --hub auto --code ATTIC1 > "$work/refused" 2>&1 || status=$?
test "$status" = 3 && grep -q 'does not list its rooms' "$work/refused" && grep -q -- '--key-file' "$work/refused" || { cat "$work/refused"; exit 1; }
kill -INT "$keyed"
wait "$keyed"
say "the rooms of a hub with a key are found with the key"
ip netns exec "$b" "$gambi" hub serve --port 3002 --mdns --tls self --tls-key "$work/hub.pem" --room TLS001=Sealed --format ndjson > "$work/sealed" 2> "$work/sealed-log" &
sealed=$!
until_there "$work/sealed" mdns_registered
ip netns exec "$a" "$gambi" room get --hub auto --code TLS001 --format ndjson | grep -q '"name":"Sealed"'
say "a hub that serves TLS is found with its fingerprint"
# Another key, as a hub makes one.
ip netns exec "$b" "$gambi" hub serve --port 3003 --tls self --tls-key "$work/renewed.pem" --format ndjson > "$work/renewed" &
renewed=$!
until_there "$work/renewed" started
kill -INT "$renewed"
wait "$renewed"
mv "$work/renewed.pem" "$work/hub.pem"
kill -HUP "$sealed"
until_there "$work/sealed-log" "new connections get the certificate"
fingerprint=$(grep -o '"fingerprint":"[^"]*"' "$work/renewed" | head -n 1)
ip netns exec "$a" "$gambi" discover --timeout 3s --format ndjson > "$work/found"
grep -q "$fingerprint" "$work/found" || { cat "$work/found"; exit 1; }
ip netns exec "$a" "$gambi" room get --hub auto --code TLS001 --format ndjson | grep -q '"name":"Sealed"'
kill -INT "$sealed"
wait "$sealed"
say "a renewed certificate is announced"
kill -INT "$hub"
wait "$hub"
until_there "$work/zeroconf" "gone gambi-hub-3000"
ip netns exec "$b" "$gambi" discover --timeout 1s --format ndjson > "$work/found"
if grep -q gambi-hub-3000 "$work/found"; then cat "$work/found"; exit 1; fi
say "a goodbye is honoured"
