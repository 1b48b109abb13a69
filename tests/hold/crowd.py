"""Opens connections from 127.0.0.2 and keeps them until its input ends. Usage: crowd.py PORT COUNT plain|tls"""
import socket
import ssl
import sys

port, count, tls = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "tls"
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
crowd = []
for _ in range(count):
    one = socket.socket()
    one.bind(("127.0.0.2", 0))
    one.settimeout(60)
    one.connect(("127.0.0.1", port))
    crowd.append(context.wrap_socket(one) if tls else one)
print("all there", flush=True)
sys.stdin.read()
