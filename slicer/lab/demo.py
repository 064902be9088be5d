"""`make demo`: builds a lab, shows what Slicer does with the commands that do it, and fails if any claim does not hold.

cluster a                                   cluster b
client (red), outsider, client-blue (blue)  web, speed (red), web-blue (blue)
     |__________ red and blue, both 10.22.0.0/16 __________|
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from slicer.lab import machines, state, workloads
from slicer.lab.capture import Packet, listening
from slicer.lab.layout import Layout
from slicer.lab.tour import ClaimError, Tour
from slicer.model.errors import SlicerError

EXAMPLES = Path(__file__).resolve().parents[2] / "manifests" / "examples"
PREFIX = "10.22.0.0/16"
CEILING_BPS = 20_000_000
AT_LEAST = 0.75
"""Of the ceiling: TCP's headers take 4 %, the rest is for a machine that has other things to do."""
WEB, SPEED, WEB_BLUE = (
    "web.shop.svc.red.slice.local",
    "speed.shop.svc.red.slice.local",
    "web-blue.shop.svc.blue.slice.local",
)
MARKER = "my-secret-parcel-4711"
PATIENCE_S = 15.0


def main(name: str) -> int:
    """Run the whole demonstration in the lab `name`; 1 if anything did not hold (the lab stays for a look)."""
    tour = Tour(env={"SLICER_LAB": name, "SLICER_CONFIG": f"/run/slicer-lab/{name}/slicectl.yaml", "COLUMNS": "94"})
    tour.title("Slicer: chosen pods of two clusters on one private network")
    try:
        show_lab(tour)
        lab = state.load(name)
        show_slices(tour)
        show_pods(tour, lab)
        show_names(tour, lab)
        show_outsider(tour, lab)
        show_twin(tour, lab)
        show_ceiling(tour)
        show_wire(tour, lab)
        say_goodbye(tour, name)
    except SlicerError as error:
        tour.failed(error.message)
        if not isinstance(error, ClaimError) or tour.chapters > 1:
            tour.tell(
                f"The lab is still there to look at: slicectl lab status --name {name}; make demo-down removes it."
            )
        return 1
    return 0


def show_lab(tour: Tour) -> None:
    """Two clusters from nothing."""
    tour.chapter("Two clusters and a hub, on this machine")
    tour.tell(
        "Every machine is a set of namespaces. Controllers, agents, DNS servers, WireGuard and the CNI plugin are "
        "real; the only stand-in is the kubelet. Both clusters use the same pod addresses."
    )
    tour.stream("slicectl", "lab", "up")


def show_slices(tour: Tour) -> None:
    """Two slices with the same prefix."""
    tour.chapter("A slice over both clusters, and a second one with the same prefix")
    ceiling = f"{CEILING_BPS // 1_000_000}M"
    tour.run("slicectl", "create-slice", "red", "--prefix", PREFIX, "--ceiling", ceiling, "--wait")
    tour.run("slicectl", "create-slice", "blue", "--prefix", PREFIX, "--wait")
    tour.run("slicectl", "get", "slices")


def show_pods(tour: Tour, lab: Layout) -> None:
    """Ordinary manifests; a second interface where the annotation asks for one."""
    tour.chapter("Ordinary pods; those that opted in get a second interface")
    tour.run("grep", "-B1", "slicer.io", _shown(EXAMPLES / "web-red.yaml"))
    _start(tour, "b", "web-red.yaml", "speed-red.yaml", "web-blue.yaml")
    _start(tour, "a", "client-red.yaml", "client-blue.yaml", "outsider.yaml")
    tour.run("slicectl", "lab", "exec", "client", "--", "ip", "-br", "-4", "address")
    eth0, net1 = _address(lab, "client", "eth0"), _address(lab, "client")
    tour.claim(f"client has eth0 {eth0} of its cluster and net1 {net1} of slice red", eth0 != net1)
    tour.claim("outsider has eth0 and nothing else", set(_interfaces(lab, "outsider")) == {"eth0"})


def show_names(tour: Tour, lab: Layout) -> None:
    """Names, ping and HTTP from cluster to cluster."""
    tour.chapter("From cluster to cluster, by name")
    for slice_, pod, port in (
        ("red", "web", "http:80"),
        ("red", "speed", "iperf:5201"),
        ("blue", "web-blue", "http:80"),
    ):
        tour.run("slicectl", "export", slice_, f"shop/{pod}", "--selector", f"app={pod}", "--port", port)
    _until(lambda: _try(lab, "client", "getent", "ahosts", WEB) != "", "the name of web")
    _until(lambda: _try(lab, "client", "getent", "ahosts", SPEED) != "", "the name of speed")
    _until(lambda: _try(lab, "client-blue", "getent", "ahosts", WEB_BLUE) != "", "the name of web-blue")
    output = tour.run("slicectl", "lab", "exec", "client", "--", "ping", "-c", "3", "-i", "0.2", WEB)
    tour.claim(f"cluster a reaches cluster b by name: {WEB} is {_address(lab, 'web')}", "3 received" in output, output)
    output = _fetch(tour, "client", f"http://{WEB}/")
    client = _address(lab, "client")
    tour.claim(f"the server saw the client's own address, {client}: no NAT on the way", client in output, output)


def show_outsider(tour: Tour, lab: Layout) -> None:
    """Who did not opt in has no way in."""
    tour.chapter("A pod that did not opt in")
    web = _address(lab, "web")
    tour.run("slicectl", "lab", "exec", "outsider", "--", "getent", "hosts", WEB, fails=True)
    tour.claim("outsider gets no answer for the name", True)
    tour.run("slicectl", "lab", "exec", "outsider", "--", "ping", "-c", "1", "-W", "1", web, fails=True)
    tour.claim("and cannot reach the address either", True)


def show_twin(tour: Tour, lab: Layout) -> None:
    """Two slices with equal prefixes never meet."""
    tour.chapter(f"Slice blue has the same prefix, {PREFIX}, and does not hear slice red")
    tour.tell(f"web has {_address(lab, 'web')} on red, web-blue has {_address(lab, 'web-blue')} on blue.")
    with listening(_netns(lab, "web-blue"), "net1") as heard:
        tour.run("slicectl", "lab", "exec", "client", "--", "ping", "-c", "5", "-i", "0.2", "-q", _address(lab, "web"))
    tour.claim(
        "while red's client pinged red's web, web-blue's interface heard 0 packets",
        heard.lost == 0 and heard.packets() == [],
        f"{len(heard.packets())} packets",
    )
    output = _fetch(tour, "client-blue", f"http://{WEB_BLUE}/")
    tour.claim("blue works on its own, with the same addresses", "this is web-blue" in output, output)
    tour.run("slicectl", "lab", "exec", "client-blue", "--", "getent", "hosts", WEB, fails=True)
    tour.claim("and does not know red's names", True)


def show_ceiling(tour: Tour) -> None:
    """Bandwidth is kept: the slice's ceiling holds on the tunnels."""
    tour.chapter(f"Slice red may use {CEILING_BPS / 1e6:.0f} Mbit/s between the clusters")
    tour.tell("client sends as fast as it can; the first second, with slow start and bursts, is left out.")
    argv = ("iperf3", "-c", SPEED, "-C", "reno", "-O", "1", "-t", "3", "-i", "0", "-f", "m")
    output = tour.run("slicectl", "lab", "exec", "client", "--", *argv)
    found = re.search(r"([\d.]+) Mbits/sec +receiver", output)
    measured_bps = float(found[1]) * 1e6 if found else 0.0
    tour.claim(
        f"promised at most {CEILING_BPS / 1e6:.1f} Mbit/s, measured {measured_bps / 1e6:.1f} Mbit/s of TCP payload",
        CEILING_BPS * AT_LEAST <= measured_bps <= CEILING_BPS,
    )


def show_wire(tour: Tour, lab: Layout) -> None:
    """Between the clusters there is nothing to read."""
    tour.chapter("What can be read on the wire between the clusters")
    tour.tell(f"client asks for /{MARKER}, while somebody listens on the internet's bridge and on web's own interface.")
    internet = f"/proc/{machines.require(lab.directory_of(lab.machine('internet'))).pid}/ns/net"
    with listening(internet) as wire, listening(_netns(lab, "web"), "net1") as inside:
        output = _fetch(tour, "client", f"http://{WEB}/{MARKER}")
    tour.claim("the request arrived", MARKER in output, output)
    between = wire.packets(lambda packet: _clusters(packet) == {1, 2})
    others = [packet for packet in between if not packet.is_wireguard]
    ports = sorted({port for packet in between for port in packet.ports})
    tour.claim(
        f"{len(between)} packets between the clusters, all of them WireGuard messages in UDP (ports "
        f"{', '.join(map(str, ports))})",
        len(between) > 5 and not others and wire.lost == 0,
        f"{len(others)} others of {len(between)}, {wire.lost} lost",
    )
    readable = sum(MARKER.encode() in packet.payload for packet in between)
    tour.claim(f"the text {MARKER!r} can be read in 0 of them", readable == 0, f"in {readable}")
    heard = inside.holding(MARKER.encode())
    tour.claim(f"and in {heard} at web's own interface, where it belongs", heard > 0)


def say_goodbye(tour: Tour, name: str) -> None:
    """What to try next, and how to get rid of it."""
    tour.chapter("All of it held" + f" ({tour.claims} claims). The lab goes on")
    tour.tell(f"To look around, first: export PATH={Path(sys.executable).parent}:$PATH")
    more = "" if name == "lab" else f" --name {name}"
    for command, what in (
        ("slicectl status", "health at a glance"),
        ("slicectl get gateways", "or slices, nodes, tunnels, attachments …"),
        ("slicectl describe slice red", "everything about one slice"),
        ("slicectl member add red --pod a/shop/outsider", "let the outsider in, while it runs"),
        (f"slicectl lab exec client{more} -- bash", "a shell in a pod"),
        (f"slicectl lab status{more}", "machines, programs, pods"),
        (f"slicectl lab stop{more} --kill hub/hub", "kill the hub: nothing else stops"),
        ("make demo-down" if name == "lab" else f"slicectl lab down{more}", "remove everything"),
    ):
        tour.tell(f"{command:<46} {what}")


def _start(tour: Tour, cluster: str, *files: str) -> None:
    named = [word for file in files for word in ("-f", _shown(EXAMPLES / file))]
    tour.run("slicectl", "lab", "run", "--cluster", cluster, *named)


def _fetch(tour: Tour, pod: str, url: str) -> str:
    return tour.run("slicectl", "lab", "exec", pod, "--", "curl", "-sS", "-m", "5", url)


def _shown(path: Path) -> str:
    """The path as a user in the clone would type it."""
    return f"{path.relative_to(Path.cwd())}" if path.is_relative_to(Path.cwd()) else str(path)


def _interfaces(lab: Layout, pod: str) -> dict[str, Any]:
    _, record = workloads.find(lab, pod)
    return {entry["interface"]: entry for entry in json.loads(record["status"])}


def _address(lab: Layout, pod: str, interface: str = "net1") -> str:
    entry = _interfaces(lab, pod).get(interface)
    if entry is None:
        raise ClaimError(f"does not hold: pod {pod} has an interface {interface}")
    return str(entry["ips"][0])


def _netns(lab: Layout, pod: str) -> str:
    """The pod's network namespace as this process sees it: below its node's root directory."""
    node, record = workloads.find(lab, pod)
    machine = machines.require(lab.directory_of(lab.machine(node)))
    return f"/proc/{machine.pid}/root/run/netns/{record['netns_name']}"


def _clusters(packet: Packet) -> set[int]:
    """Numbers of the clusters whose machines sent and received the packet (0: hub, or not of the underlay)."""
    return {_cluster(str(packet.source)), _cluster(str(packet.destination))}


def _cluster(address: str) -> int:
    found = re.match(r"198\.18\.(\d+)\.|fd00:198:18:(\d+)::", address)
    return int(found[1] or found[2]) if found else 0


def _try(lab: Layout, pod: str, *argv: str) -> str:
    """The output of a command in a pod, not shown; empty if it fails."""
    record = workloads.exec_argv(lab, pod, argv)
    done = subprocess.run(record, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""


def _until(condition: Any, what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise ClaimError(f"does not hold: {what} is there within {PATIENCE_S:.0f} s")
        time.sleep(0.1)
