"""python-zeroconf as another implementation: `browse` tells what it sees, `announce PORT` is a hub of somebody else's."""

import socket
import sys
import time

from zeroconf import ServiceBrowser, ServiceInfo, ServiceListener, Zeroconf

KIND = "_gambi._tcp.local."
zeroconf = Zeroconf(interfaces=["10.77.0.2"])


class Listener(ServiceListener):
    def add_service(self, zc, kind, name):
        info = zc.get_service_info(kind, name)
        text = {key.decode(): value.decode() for key, value in info.properties.items()}
        print("found", name, info.parsed_addresses()[0], info.port, text["protocol"], text["version"], flush=True)

    def update_service(self, *_):
        pass

    def remove_service(self, zc, kind, name):
        print("gone", name, flush=True)


if sys.argv[1] == "browse":
    browser = ServiceBrowser(zeroconf, KIND, Listener())
else:
    properties = {"version": "1.0", "protocol": "http"}
    address = [socket.inet_aton("10.77.0.2")]
    info = ServiceInfo(KIND, f"other-hub.{KIND}", addresses=address, port=int(sys.argv[2]), properties=properties, server="other.local.")
    zeroconf.register_service(info)
    print("announced", flush=True)
time.sleep(60)
