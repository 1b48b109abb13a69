"""Opens connections from 127.0.0.2 and keeps them until its input ends. Usage: crowd.py PORT COUNT"""
import socket
import sys

port, count = int(sys.argv[1]), int(sys.argv[2])
crowd = []
for _ in range(count):
    one = socket.socket()
    one.bind(("127.0.0.2", 0))
    one.settimeout(60)
    one.connect(("127.0.0.1", port))
    crowd.append(one)
print("all there", flush=True)
sys.stdin.read()
