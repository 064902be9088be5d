"""Makes one bare WireGuard device on a machine, with the back end that the agent would choose there; a job on stdin.

{"private_key", "public_key" (of the peer), "endpoint", "port", "mtu"}
"""

from __future__ import annotations

import ipaddress
import json
import subprocess
import sys
from pathlib import Path

from slicer.kernel.keys import Keys
from slicer.kernel.wireguard import PeerWish, Place, Secret
from slicer.kernel.wireguard_choice import choose

OWN = "bare"
"""A name for the machine's own network namespace: the back ends want one to put the device in."""
DEVICE = Place(OWN, "bare0")
STATE = Path("/run/bench")


def main() -> None:
    """Does the job on stdin and prints the back end's name as JSON."""
    job = json.load(sys.stdin)
    STATE.mkdir(exist_ok=True)
    subprocess.run(("ip", "netns", "attach", OWN, "1"), check=True)
    wireguard = choose("auto", Keys(STATE, job["port"]).public_of, STATE)
    if wireguard is None:
        raise SystemExit("no WireGuard on this machine: run `make setup`")
    wireguard.create(DEVICE, job["mtu"])
    wireguard.set_key(DEVICE, Secret(text=job["private_key"]), job["port"])
    endpoint = (ipaddress.ip_address(job["endpoint"]), job["port"])
    allowed = (ipaddress.ip_network("192.0.2.0/24"),)
    peer = PeerWish(public_key=job["public_key"], endpoint=endpoint, allowed_ips=allowed)
    wireguard.set_peers(DEVICE, (peer,))
    print(json.dumps(wireguard.name))


if __name__ == "__main__":
    main()
