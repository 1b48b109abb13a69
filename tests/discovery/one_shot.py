"""Clients that ask for hubs once, at ADDRESS, and wait for an answer that names INSTANCE. Each asks as soon as the one before
was answered. By turns they are members of the multicast group, which get a multicast answer, and send from a port of their
own, to which the answer is unicast (RFC 6762, sections 5.1 and 6.7). Needs no package."""

import socket
import struct
import sys

GROUP, PORT = "224.0.0.251", 5353
PATIENCE = 20
PTR, IN = 12, 1
QUESTION = b"\x06_gambi\x04_tcp\x05local\x00" + struct.pack(">2H", PTR, IN)
QUERY = struct.pack(">6H", 0, 0, 1, 0, 0, 0) + QUESTION

address, instance = sys.argv[1], sys.argv[2].encode()


def client(member):
    own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    own.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
    if member:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        own.bind(("", PORT))
        own.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP) + socket.inet_aton(address))
    own.settimeout(PATIENCE)
    return own


def answers(packet):
    is_response = packet[2] & 0x80
    return is_response and instance in packet


for number, member in enumerate([False, True, True, True, False, True]):
    with client(member) as own:
        own.sendto(QUERY, (GROUP, PORT))
        try:
            while not answers(own.recv(9000)):
                pass
        except TimeoutError:
            sys.exit(f"client {number} (member: {member}) was not answered")
