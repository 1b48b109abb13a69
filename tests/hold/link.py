"""A cable between two network namespaces that can be bad: it delays, reorders, loses, is slow, or swallows everything
without a word. What netem does, on kernels that have none too.

Usage: link.py NAMESPACE ADDRESS NAMESPACE ADDRESS CONTROL. The file CONTROL holds words such as `delay=0.1 jitter=0.05
loss=0.1 reorder=0.25 rate=32000 cut=1` (seconds, shares of packets, bytes a second), and may change at any time."""
import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import sys
import time

TUNSETIFF, IFF_TUN, IFF_NO_PI, CLONE_NEWNET = 0x400454CA, 0x0001, 0x1000, 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def end(namespace, address, other):
    """One end of the cable, as a device in a namespace; packets are read from it and written to it."""
    with open(f"/run/netns/{namespace}") as there:
        if libc.setns(there.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", b"wire", IFF_TUN | IFF_NO_PI))
    subprocess.run(["ip", "addr", "add", address, "peer", other, "dev", "wire"], check=True)
    subprocess.run(["ip", "link", "set", "wire", "up"], check=True)
    return device


def faults(path, known=[0, {}]):
    stamp = os.stat(path).st_mtime_ns
    if stamp != known[0]:
        words = open(path).read().split()
        known[:] = [stamp, {key: float(value) for key, value in (word.split("=") for word in words)}]
    return known[1]


def main():
    first, here, second, there, control = sys.argv[1:]
    a, b = end(first, here, there), end(second, there, here)
    other = {a: b, b: a}
    free = {a: 0.0, b: 0.0}  # when each direction's last packet is through
    waiting, number = [], 0
    print("up", flush=True)
    while True:
        pause = max(0.0, waiting[0][0] - time.monotonic()) if waiting else 0.5
        ready, _, _ = select.select([a, b], [], [], min(pause, 0.5))
        now, bad = time.monotonic(), faults(control)
        for device in ready:
            packet = os.read(device, 65536)
            if bad.get("cut") or random.random() < bad.get("loss", 0):
                continue
            late = bad.get("delay", 0) + random.uniform(0, bad.get("jitter", 0))
            if random.random() < bad.get("reorder", 0):
                late = 0  # it overtakes those before it
            if bad.get("rate"):
                free[device] = max(free[device], now) + len(packet) / bad["rate"]
                late += free[device] - now
            number += 1
            heapq.heappush(waiting, (now + late, number, device, packet))
        while waiting and waiting[0][0] <= now:
            _, _, device, packet = heapq.heappop(waiting)
            try:
                os.write(other[device], packet)
            except OSError:
                pass  # its queue is full: lost, as on any cable


main()
